// The console's build: hashed assets and a page without inline code, as the gateway's Content-Security-Policy
// wants it. Nothing in it depends on the machine, so that two builds give the same bytes.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "/",
  // `npm run dev`: the page from here, calls to a gateway that runs beside it.
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
