// Bundles a plugin in JavaScript or TypeScript and makes a component of it. Runs under Node in the folder of the tools.
//
// Owns: what only the tools' own language can do. Reads a job as JSON from standard input; says on standard output, as JSON,
// what it did, or `{ "problem": … }`. Decides nothing about worlds: it is given one with and one without the hook settings.

import { readFileSync, writeFileSync } from "node:fs";
import { relative, resolve } from "node:path";
import { componentize } from "componentize-qjs";
import { build } from "esbuild";

const job = JSON.parse(readFileSync(0, "utf8"));

/** The values for tests are no part of a plugin. */
const forTests = {
  name: "for tests",
  setup: (bundler) =>
    bundler.onResolve({ filter: /^pomona\/testing$/ }, () => ({
      errors: [{ text: "pomona/testing is for tests alone; a plugin cannot import it" }],
    })),
};

async function bundle(contents, more) {
  return build({
    stdin: { contents, resolveDir: job.folder, sourcefile: "pomona/entry.js", loader: "js" },
    absWorkingDir: job.folder,
    alias: { pomona: `${job.sdk}/index.js` },
    plugins: [forTests],
    external: ["pomona:*"],
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    charset: "utf8",
    logLevel: "silent",
    outfile: "plugin.js",
    metafile: true,
    ...more,
  });
}

/**
 * Whence each line of the bundle comes, as `file:line`: the second and third numbers of the line's first segment that begins
 * with its text, since what stands before may still belong to the line above.
 */
function places(map, bundle) {
  const indents = bundle.split("\n").map((text) => text.search(/\S|$/));
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let source = 0;
  let line = 0;
  // Names are relative to the folder of the plugin, and so is what its frames are called; ours begin with `pomona/`.
  const own = (name) => (resolve(job.folder, name).startsWith(`${job.sdk}/`) ? "pomona/sdk" : name);
  return map.mappings.split(";").map((segments, n) => {
    let before = "";
    let first = "";
    let column = 0;
    for (const segment of segments === "" ? [] : segments.split(",")) {
      const numbers = [];
      let value = 0;
      let shift = 0;
      for (const letter of segment) {
        const digit = digits.indexOf(letter);
        value += (digit & 31) << shift;
        shift += 5;
        if ((digit & 32) === 0) {
          numbers.push(value & 1 ? -(value >> 1) : value >> 1);
          value = 0;
          shift = 0;
        }
      }
      column += numbers[0];
      if (numbers.length >= 4) {
        source += numbers[1];
        line += numbers[2];
        const place = `${own(map.sources[source])}:${line + 1}`;
        if (column >= indents[n]) first ||= place;
        else before = place;
      }
    }
    return first || before;
  });
}

async function run() {
  const entry = JSON.stringify(`./${job.entry}`);
  const looked = await bundle(`export * from ${entry};`);
  const [{ exports }] = Object.values(looked.metafile.outputs);
  const missing = job.hooks.filter((hook) => !exports.includes(hook));
  if (missing.length > 0) {
    const names = missing.map((hook) => `\`export const ${hook}\``).join(" and ");
    return { problem: `plugin.toml names a hook that ${job.entry} does not export; write ${names}` };
  }
  const settings = exports.includes("settings");
  const hooks = settings ? [...job.hooks, "settings"] : job.hooks;
  const whole = await bundle(
    [
      `import * as plugin from ${entry};`,
      `import { frame } from ${JSON.stringify(`${job.sdk}/guest.js`)};`,
      ...job.imports.map(([name, path]) => `import ${name} from ${JSON.stringify(path)};`),
      `const places = (globalThis.places = []);`,
      `const framed = frame(plugin, ${JSON.stringify(hooks)}, { ${job.imports.map(([name]) => name).join(", ")} }, places);`,
      ...hooks.map((hook) => `export const ${hook} = framed.${hook};`),
    ].join("\n"),
    { sourcemap: "external", sourcesContent: false },
  );
  const file = (end) => whole.outputFiles.find((output) => output.path.endsWith(end)).text;
  // Behind the code, so that its lines stay where they are; the list was handed over before it is filled.
  const told = places(JSON.parse(file(".js.map")), file("plugin.js"));
  // The bundler names the folder of this build, which is nobody's business and another each time.
  const bundled = file("plugin.js").replaceAll(relative(job.folder, job.work), "pomona");
  const source = `${bundled}\nglobalThis.places.push(...${JSON.stringify(told)});\ndelete globalThis.places;\n`;
  writeFileSync(`${job.work}/plugin.js`, source);
  const { component } = await componentize({
    witPath: settings ? job.wit_with_settings : job.wit,
    world: "plugin",
    jsSource: source,
    jsPath: `${job.work}/plugin.js`,
    moduleRoot: job.work,
    stubWasi: true,
    sync: true,
  });
  writeFileSync(`${job.work}/plugin.wasm`, component);
  return { settings };
}

function problem(error) {
  const lines = (error.errors ?? []).map(({ text, location }) =>
    location === null ? text : `${location.file}:${location.line}: ${text}`,
  );
  return { problem: lines.length > 0 ? lines.join("; ") : String(error?.message ?? error) };
}

console.log(JSON.stringify(await run().catch(problem)));
