import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

interface Bind {
  type: string;
  source: string;
  target: string;
  read_only?: boolean;
  bind: object;
}

/** A service of docker-compose.yml, as far as tests look at it. */
interface Service {
  image: string;
  build?: { context: string; dockerfile: string };
  profiles?: string[];
  entrypoint?: string[];
  command?: string[];
  user?: string;
  environment?: Record<string, string | null>;
  ports?: string[];
  volumes?: (string | Bind)[];
  healthcheck?: { test: string[]; disable?: boolean };
  depends_on?: Record<string, { condition: string }>;
  extra_hosts?: string[];
  stop_grace_period?: string;
  restart: string;
  read_only: boolean;
  init?: boolean;
  cap_drop: string[];
  security_opt: string[];
  deploy: { resources: { limits: { cpus: string; memory: string; pids: number } } };
  logging: { options: Record<string, string> };
}

interface ComposeFile {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
}

/**
 * docker-compose.yml as Compose sees it in this environment: `${NAME:-default}` and `${NAME-default}` replaced in the
 * values.
 */
export function readCompose(environment: Record<string, string> = {}): ComposeFile {
  const interpolate = (text: string) =>
    text.replace(/\$\{(\w+)(:?-)([^}]*)\}/g, (_, name: string, operator: string, fallback: string) => {
      const value = environment[name];
      return value === undefined || (operator === ':-' && value === '') ? fallback : value;
    });
  const text = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
  return parse(text, (_, value) => (typeof value === 'string' ? interpolate(value) : value));
}

/** What the container gets from that environment: names without a value are taken as they are there. */
export function containerEnvironment(service: string, environment: Record<string, string>): Record<string, string> {
  const given = readCompose(environment).services[service].environment ?? {};
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) => {
      const passed = value ?? environment[name];
      return passed === undefined ? [] : [[name, passed]];
    }),
  );
}
