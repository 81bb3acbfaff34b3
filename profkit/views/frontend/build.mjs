// Bundles src/ into ../static/profile.js and profile.css. The first line of both names the sources
// they were made of, so that profkit/views/bundle.py can tell a stale bundle without Node.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "static");

async function sourcesDigest() {
  const inSrc = await readdir(join(here, "src"), { recursive: true, withFileTypes: true });
  const files = inSrc.filter((entry) => entry.isFile());
  const paths = [
    "build.mjs",
    "package-lock.json",
    "tsconfig.json",
    ...files.map((entry) => relative(here, join(entry.parentPath, entry.name)).split(sep).join("/")),
  ].sort();
  const digest = createHash("sha256");
  for (const path of paths) {
    digest.update(`${path}\0`);
    digest.update(await readFile(join(here, path)));
    digest.update("\0");
  }
  return digest.digest("hex");
}

const sources = `/* sources sha256:${await sourcesDigest()} */`;
const built = await build({
  absWorkingDir: here,
  entryPoints: { profile: "src/main.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  banner: { js: sources, css: sources },
  write: false,
});

await mkdir(out, { recursive: true });
let total = 0;
for (const file of built.outputFiles) {
  await writeFile(file.path, file.contents);
  total += file.contents.length;
  console.log(`${relative(here, file.path)}  ${(file.contents.length / 1000).toFixed(1)} kB`);
}
console.log(`total  ${(total / 1000).toFixed(1)} kB`);
