// Writes the JSON Schemas of the wire contract to contract/, for producers and collectors in other languages.
import { mkdirSync, writeFileSync } from 'node:fs';
import { jsonSchemaFiles } from '../dist/contract/index.js';

const directory = new URL('../contract/', import.meta.url);
mkdirSync(directory, { recursive: true });
for (const [name, content] of jsonSchemaFiles()) {
  writeFileSync(new URL(name, directory), content);
  console.log(`contract/${name}`);
}
