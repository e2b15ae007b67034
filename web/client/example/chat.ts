import { createTrellis } from "trellis-client";

const trellis = createTrellis({ baseUrl: "https://chat.example.com" });

trellis.session.onChange(async (state) => {
  if (state.kind !== "signedIn") return;

  // Search for people.
  const { users } = await trellis.users.listUsers({ query: "ada" });
  console.log(users.map((user) => `${user.displayName} @${user.handle}`));

  // The outbox sends each message until the server has stored it, across lost connections and reloads.
  const outbox = trellis.outbox(state.userId);
  outbox.onSent((entry) => console.log(`stored as entry ${entry.seq}`));

  // Each event once and in order, until the session ends.
  for await (const event of trellis.follow(new Map(), new AbortController().signal)) {
    if (event.kind === "entry" && event.entry.body.case === "message") {
      const { text } = event.entry.body.value;
      console.log(text);
      if (text === "ping") outbox.enqueue(event.entry.conversationId, "pong");
    }
  }
});

// Resume the session of an earlier visit, or sign in.
await trellis.session.restore();
if (trellis.session.state.kind === "signedOut") {
  await trellis.session.signIn("ada@example.com", "correct horse battery staple");
}
