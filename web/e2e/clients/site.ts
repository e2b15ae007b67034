// Serves the page with the clients from its own origins, so that all requests to the gateway are cross-origin.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";

import { build } from "vite";

const PAGE = '<!doctype html><title>Clients</title><script type="module" src="/page.js"></script>';
/** npm runs the tests in web/. */
const BUNDLE = "out/e2e/clients/bundle";

export async function bundle(): Promise<string> {
  await build({
    configFile: false,
    logLevel: "warn",
    build: {
      target: "es2022",
      outDir: BUNDLE,
      lib: { entry: "e2e/clients/page.ts", formats: ["es"], fileName: () => "page.js" },
    },
  });
  return readFileSync(`${BUNDLE}/page.js`, "utf8");
}

export class Site {
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `http://localhost:${port}`;
  }

  /** Serves a page with this script, on a free port. */
  static async open(script: string): Promise<Site> {
    const server = createServer((request, response) => {
      const isPage = request.url === "/";
      response.setHeader("content-type", isPage ? "text/html; charset=utf-8" : "text/javascript; charset=utf-8");
      response.end(isPage ? PAGE : script);
    });
    await once(server.listen(0, "localhost"), "listening");
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    return new Site(server, address.port);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
