-- Which history the positions in cursors belong to. Whoever restores a backup changes the number, and cursors
-- from the lost future are refused instead of skipping entries.
CREATE TABLE epoch (
    epoch BIGINT PRIMARY KEY NOT NULL
);
INSERT INTO epoch (epoch) VALUES (1);

-- How many conversations somebody is in, counted where it can be locked.
CREATE TABLE people (
    user_id            UUID PRIMARY KEY NOT NULL,
    conversation_count BIGINT NOT NULL
);

-- A conversation, with the numbers that its log gives out: the row's lock orders the log.
CREATE TABLE conversations (
    conversation_id UUID PRIMARY KEY NOT NULL,
    creator_id      UUID NOT NULL,
    request_id      UUID NOT NULL,
    fingerprint     BYTEA NOT NULL,
    title           TEXT NOT NULL,
    owner_id        UUID NOT NULL,
    revision        BIGINT NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    update_time     TIMESTAMPTZ NOT NULL,
    last_seq        BIGINT NOT NULL,
    message_count   BIGINT NOT NULL,
    member_count    BIGINT NOT NULL,
    CONSTRAINT conversations_creator_id_request_id_key UNIQUE (creator_id, request_id)
);

-- Who is in, since which entry, and up to which message they have read.
CREATE TABLE members (
    conversation_id UUID NOT NULL REFERENCES conversations,
    user_id         UUID NOT NULL,
    join_seq        BIGINT NOT NULL,
    read_no         BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX members_by_join ON members (conversation_id, join_seq, user_id);
CREATE INDEX members_by_user ON members (user_id, conversation_id);

-- The log: gap-free seq by conversation. Entries that count as messages carry message_no and message_id too;
-- entries that change one carry its number as target_no, so that its earlier texts are found when it is erased.
CREATE TABLE entries (
    conversation_id UUID NOT NULL REFERENCES conversations,
    seq             BIGINT NOT NULL,
    message_no      BIGINT,
    message_id      UUID,
    target_no       BIGINT,
    author_id       UUID NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    body            BYTEA NOT NULL,
    PRIMARY KEY (conversation_id, seq)
);
CREATE UNIQUE INDEX entries_by_message_no ON entries (conversation_id, message_no) WHERE message_no IS NOT NULL;
CREATE UNIQUE INDEX entries_by_message_id ON entries (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX entries_by_target_no ON entries (conversation_id, target_no) WHERE target_no IS NOT NULL;

-- The ids that senders gave their messages. Apart from the entries, because they outlive them.
CREATE TABLE client_messages (
    conversation_id   UUID NOT NULL REFERENCES conversations,
    author_id         UUID NOT NULL,
    client_message_id UUID NOT NULL,
    fingerprint       BYTEA NOT NULL,
    seq               BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, author_id, client_message_id)
);
