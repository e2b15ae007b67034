// Builds the console: hashed assets and a page without inline code, as the gateway's Content-Security-Policy
// requires. Builds are reproducible: nothing depends on the machine.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "/",
  // `npm run dev` serves the page, and proxies calls to a local gateway.
  server: { proxy: { "^/trellis\\.": process.env.TRELLIS_GATEWAY ?? "http://localhost:8080" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
