// Compresses the built files in the folders that the arguments name, so that the gateway sends them without compressing
// them at each request. Unit tests of the gateway compare the compressed files with the originals.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

// Smaller files fit into one packet anyway.
const LEAST_BYTES = 1024;
// What other formats contain is compressed already.
const TEXT = /\.(html|js|css|svg|json|webmanifest)$/;

for (const folder of process.argv.slice(2)) compress(folder);

function compress(folder) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !TEXT.test(entry.name)) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const plain = readFileSync(path);
    if (plain.length < LEAST_BYTES) continue;
    writeFileSync(`${path}.gz`, gzipSync(plain, { level: constants.Z_BEST_COMPRESSION }));
    writeFileSync(`${path}.br`, brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } }));
  }
}
