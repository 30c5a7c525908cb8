// Writes the PrometheusRule for Kubernetes from the rule file that Prometheus itself reads, comments included.
// With --check it writes nothing and fails where the manifest is stale.
import { readFileSync, writeFileSync } from 'node:fs';
import { Document, isMap, isSeq, parseDocument } from 'yaml';

const root = new URL('../', import.meta.url);
const source = new URL('deploy/prometheus/categorizer.rules.yml', root);
const target = new URL('deploy/k8s/prometheus-rule.yaml', root);

const HEADER = ' Made by npm run deploy:generate from deploy/prometheus/categorizer.rules.yml: change that file.';
const NAME = 'categorizer';

/** @param {string} text of a Prometheus rule file */
function toPrometheusRule(text) {
  const rules = parseDocument(text);
  if (rules.errors.length > 0) throw rules.errors[0];
  const groups = isMap(rules.contents) ? rules.contents.get('groups') : undefined;
  if (!isSeq(groups)) throw new Error(`${source.pathname} has no groups`);
  const manifest = new Document({
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: NAME, labels: { 'app.kubernetes.io/name': 'categorizer-worker' } },
    spec: {},
  });
  manifest.commentBefore = HEADER;
  manifest.setIn(['spec', 'groups'], groups);
  return manifest.toString({ lineWidth: 0 });
}

const content = toPrometheusRule(readFileSync(source, 'utf8'));
if (!process.argv.includes('--check')) writeFileSync(target, content);
else if (readFileSync(target, 'utf8') !== content) {
  console.error(`${target.pathname} is stale: run npm run deploy:generate`);
  process.exitCode = 1;
}
