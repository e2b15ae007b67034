-- Which history the positions in cursors belong to. Whoever restores a backup changes the number, and cursors
-- from the lost future are refused instead of skipping entries.
CREATE TABLE epoch (
    epoch BIGINT PRIMARY KEY NOT NULL
);
INSERT INTO epoch (epoch) VALUES (1);

-- What users decide about being added, and how many conversations they are in: opened or accepted, and added to by
-- others. The row's lock orders what is decided and whoever is added. No rule: the server's choice. The row of a deleted
-- account stays, so that it is never added to a conversation again.
CREATE TABLE people (
    user_id            UUID PRIMARY KEY NOT NULL,
    conversation_count BIGINT NOT NULL,
    added_count        BIGINT NOT NULL,
    add_rule           TEXT,
    is_deleted         BOOLEAN NOT NULL DEFAULT FALSE
);

-- A conversation, with the numbers that its log gives out: the row's lock orders the log.
CREATE TABLE conversations (
    conversation_id UUID PRIMARY KEY NOT NULL,
    creator_id      UUID NOT NULL,
    request_id      UUID NOT NULL,
    fingerprint     BYTEA NOT NULL,
    title           TEXT NOT NULL,
    owner_id        UUID NOT NULL,
    add_policy      TEXT NOT NULL,
    revision        BIGINT NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    update_time     TIMESTAMPTZ NOT NULL,
    last_seq        BIGINT NOT NULL,
    message_count   BIGINT NOT NULL,
    member_count    BIGINT NOT NULL,
    CONSTRAINT conversations_creator_id_request_id_key UNIQUE (creator_id, request_id)
);

-- Who is in, since which entry, up to which message they have read, and how they came to be in: 'own' (opened or
-- accepted), 'added' (by another user), or 'requested' (by a stranger, and not accepted).
CREATE TABLE members (
    conversation_id UUID NOT NULL REFERENCES conversations,
    user_id         UUID NOT NULL,
    join_seq        BIGINT NOT NULL,
    read_no         BIGINT NOT NULL,
    standing        TEXT NOT NULL,
    added_by        UUID,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX members_requested ON members (user_id) WHERE standing = 'requested';
CREATE INDEX members_requested_by ON members (added_by) WHERE standing = 'requested';
CREATE INDEX members_by_join ON members (conversation_id, join_seq, user_id);
CREATE INDEX members_by_user ON members (user_id, conversation_id);

-- The log: gap-free seq by conversation. Entries that count as messages carry message_no and message_id too. An edit
-- carries its message's number as target_no, so that earlier texts are found when the message is erased; an erasure
-- carries it as erased_no, so that erased messages are not counted as unread.
CREATE TABLE entries (
    conversation_id UUID NOT NULL REFERENCES conversations,
    seq             BIGINT NOT NULL,
    message_no      BIGINT,
    message_id      UUID,
    target_no       BIGINT,
    erased_no       BIGINT,
    author_id       UUID NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    body            BYTEA NOT NULL,
    PRIMARY KEY (conversation_id, seq)
);
CREATE UNIQUE INDEX entries_by_message_no ON entries (conversation_id, message_no) WHERE message_no IS NOT NULL;
CREATE UNIQUE INDEX entries_by_message_id ON entries (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX entries_by_target_no ON entries (conversation_id, target_no) WHERE target_no IS NOT NULL;
CREATE INDEX entries_by_erased_no ON entries (conversation_id, erased_no) WHERE erased_no IS NOT NULL;

-- The ids that senders gave their messages. Apart from the entries, because they outlive them.
CREATE TABLE client_messages (
    conversation_id   UUID NOT NULL REFERENCES conversations,
    author_id         UUID NOT NULL,
    client_message_id UUID NOT NULL,
    fingerprint       BYTEA NOT NULL,
    seq               BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, author_id, client_message_id)
);

-- Invitations that wait. They are made under the locks of both users' rows, which bounds them on both sides.
CREATE TABLE invitations (
    conversation_id UUID NOT NULL REFERENCES conversations,
    invitee_id      UUID NOT NULL,
    inviter_id      UUID NOT NULL,
    create_time     TIMESTAMPTZ NOT NULL,
    expire_time     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, invitee_id)
);
CREATE INDEX invitations_by_invitee ON invitations (invitee_id, create_time, conversation_id);
CREATE INDEX invitations_by_inviter ON invitations (inviter_id);

-- Who has blocked whom.
CREATE TABLE blocks (
    user_id     UUID NOT NULL,
    blocked_id  UUID NOT NULL,
    create_time TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, blocked_id)
);
CREATE INDEX blocks_by_blocked ON blocks (blocked_id);
