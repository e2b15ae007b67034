// Builds the GraphQL explorer like the console: hashed assets, and no inline code.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "/graphiql/",
  server: { proxy: { "^/(graphql|trellis\\.)": process.env.TRELLIS_GATEWAY ?? "http://localhost:8080" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
