import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { IDeployment } from 'kubernetes-models/apps/v1';
import { parse, parseAllDocuments } from 'yaml';

export const K8S_FOLDER = fileURLToPath(new URL('../../deploy/k8s', import.meta.url));
/** What an overlay adds to the base for nightly recategorizations, as a folder in that of the base. */
export const NIGHTLY = 'nightly';
const read = (file: string) => readFileSync(join(K8S_FOLDER, file), 'utf8');

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
}

interface Component {
  readonly resources: string[];
  readonly images: { readonly name: string; readonly newTag: string }[];
}

interface Kustomization extends Component {
  readonly configMapGenerator: { readonly name: string; readonly envs: string[] }[];
}

export const kustomization: Kustomization = parse(read('kustomization.yaml'));
export const nightly: Component = parse(read(`${NIGHTLY}/kustomization.yaml`));

export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).map((document) => document.toJS());
}

export const baseManifests = kustomization.resources.flatMap((file) => parseManifests(read(file)));
export const nightlyManifests = nightly.resources.flatMap((file) => parseManifests(read(`${NIGHTLY}/${file}`)));
export const manifests = [...baseManifests, ...nightlyManifests];

/** Every manifest of a kind; a test holds each against the schema of that kind. */
export function manifestsOf<T>(kind: string): (Manifest & T)[] {
  return manifests.filter((manifest): manifest is Manifest & T => manifest.kind === kind);
}

export function manifestOf<T>(kind: string, name: string): Manifest & T {
  const found = manifestsOf<T>(kind).find(({ metadata }) => metadata.name === name);
  if (!found) throw new Error(`no ${kind} ${name}`);
  return found;
}

/** Each Deployment with its only container, those that run before it aside. */
export const deployments = manifestsOf<IDeployment>('Deployment').map((deployment) => {
  const template = deployment.spec?.template;
  const pod = template?.spec;
  const container = pod?.containers[0];
  if (!template?.metadata || !pod || !container) throw new Error(`${deployment.metadata.name} has no container`);
  return { name: deployment.metadata.name, deployment, labels: template.metadata.labels ?? {}, pod, container };
});

/** What the pods get of the generated ConfigMap. */
export const settings = Object.fromEntries(
  [...read('settings.env').matchAll(/^(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
);
