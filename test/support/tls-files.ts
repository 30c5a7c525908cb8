import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface TlsFiles {
  /** Of the authority: what clients have to trust. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  remove(): Promise<void>;
}

/** An authority of our own, and a certificate that it signed for a server on this machine. */
export async function createTlsFiles(names = 'DNS:localhost'): Promise<TlsFiles> {
  const directory = await mkdtemp(join(tmpdir(), 'categorizer-tls-'));
  const at = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => run('openssl', args, { cwd: directory });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    '/CN=our own CA',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
  );
  await openssl('req', ...newKey, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr');
  await writeFile(at('names'), `subjectAltName=${names}`);
  const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'names', '-days', '2'];
  await openssl('x509', '-req', '-in', 'server.csr', ...signed, '-out', 'server.crt');
  return {
    ca: at('ca.crt'),
    certificate: at('server.crt'),
    key: at('server.key'),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
