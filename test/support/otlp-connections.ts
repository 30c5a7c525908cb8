/**
 * Makes a Node process tell every connection that it tries: a line of JSON on stderr, whose `msg` is this.
 * Give `RECORD_CONNECTIONS` to the process in its environment.
 */
const MESSAGE = 'connection tried';

const PRELOADED = `
import net from 'node:net';
const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (...args) {
  const [{ port, path }] = Array.isArray(args[0]) ? args[0] : args;
  process.stderr.write(JSON.stringify({ msg: '${MESSAGE}', to: String(port ?? path) }) + '\\n');
  return connect.apply(this, args);
};`;

export const RECORD_CONNECTIONS = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PRELOADED)}`,
} as const;

/** The ports and sockets that were tried, once each. @param lines what is on stderr, as objects */
export function connectionsIn(lines: readonly Record<string, unknown>[]): string[] {
  const tried = lines.filter(({ msg }) => msg === MESSAGE).map(({ to }) => String(to));
  return [...new Set(tried)];
}

/** The lines of JSON in a text that may hold others. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line): Record<string, unknown> => JSON.parse(line));
}
