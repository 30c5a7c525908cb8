import { describe, expect, it } from 'vitest';
import { ConfigError, readConfig, readDashboardUsers } from '../../src/config.ts';

const HASH = `scrypt:15:8:1:${'a'.repeat(22)}:${'b'.repeat(43)}`;
const OPERATOR = { DASHBOARD_OPERATOR_USER: 'ada', DASHBOARD_OPERATOR_PASSWORD_HASH: HASH };
const VIEWER = { DASHBOARD_VIEWER_USER: 'vic', DASHBOARD_VIEWER_PASSWORD_HASH: HASH };

/** The names of the variables that were complained about. */
function complaintsOf(environment: NodeJS.ProcessEnv): string[] {
  try {
    readConfig(environment);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const [, ...lines] = error.message.split('\n');
    return lines.map((line) => line.trim().split(':')[0]);
  }
}

describe('the settings of the dashboard', () => {
  it.each<{ title: string; environment: NodeJS.ProcessEnv; names: readonly string[] }>([
    { title: 'nobody', environment: {}, names: [] },
    { title: 'an operator', environment: OPERATOR, names: ['operator ada'] },
    { title: 'a viewer', environment: VIEWER, names: ['viewer vic'] },
    { title: 'both', environment: { ...OPERATOR, ...VIEWER }, names: ['operator ada', 'viewer vic'] },
  ])('may name $title', ({ environment, names }) => {
    const users = readDashboardUsers(readConfig(environment));
    expect(users.map(({ role, name }) => `${role} ${name}`)).toEqual(names);
  });

  it('are refused where a user or a hash stands alone, or both users have one name', () => {
    const [user, hash] = ['DASHBOARD_OPERATOR_USER', 'DASHBOARD_OPERATOR_PASSWORD_HASH'];
    expect(complaintsOf({ [user]: 'ada' })).toEqual([hash]);
    expect(complaintsOf({ [hash]: HASH })).toEqual([user]);
    expect(complaintsOf({ ...OPERATOR, DASHBOARD_VIEWER_USER: 'vic' })).toEqual(['DASHBOARD_VIEWER_PASSWORD_HASH']);
    expect(complaintsOf({ ...OPERATOR, ...VIEWER, DASHBOARD_VIEWER_USER: 'ada' })).toEqual(['DASHBOARD_VIEWER_USER']);
    expect(complaintsOf({ [user]: 'ada', DASHBOARD_VIEWER_PASSWORD_HASH: HASH, HTTP_PORT: 'x' })).toEqual([
      'HTTP_PORT',
      hash,
      'DASHBOARD_VIEWER_USER',
    ]);
  });

  it.each([
    'secret',
    HASH.replaceAll(':', '$'),
    HASH.replace(':15:', ':14:'),
    HASH.replace(':15:', ':21:'),
    HASH.replace(':8:', ':7:'),
    HASH.replace(':1:', ':0:'),
    `scrypt:15:8:1:short:${'b'.repeat(43)}`,
    `${HASH}=`,
    `${HASH}\n`,
  ])('are refused with %j as a hash', (hash) => {
    expect(complaintsOf({ ...OPERATOR, DASHBOARD_OPERATOR_PASSWORD_HASH: hash })).toEqual([
      'DASHBOARD_OPERATOR_PASSWORD_HASH',
    ]);
  });

  it('are refused with a secret that is short, and with a public URL that is more than an origin', () => {
    expect(complaintsOf({ DASHBOARD_SESSION_SECRET: 'x'.repeat(31) })).toEqual(['DASHBOARD_SESSION_SECRET']);
    expect(complaintsOf({ DASHBOARD_SESSION_SECRET: 'x'.repeat(32) })).toEqual([]);
    for (const url of ['https://queues.example', 'http://10.0.0.1:8080/']) {
      expect(complaintsOf({ DASHBOARD_PUBLIC_URL: url }), url).toEqual([]);
    }
    for (const url of [
      'queues.example',
      'ftp://queues.example',
      'https://queues.example/a',
      'https://u:p@q',
      'http://a:x',
    ]) {
      expect(complaintsOf({ DASHBOARD_PUBLIC_URL: url }), url).toEqual(['DASHBOARD_PUBLIC_URL']);
    }
  });

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('need no user on %s', (host) => {
    expect(readDashboardUsers(readConfig({ DASHBOARD_HOST: host }))).toEqual([]);
  });

  it.each(['0.0.0.0', '::', '192.168.1.1', '127.0.0.1.example', '::ffff:10.0.0.1', '1270.0.0.1'])(
    'need a user on %s',
    (host) => {
      const read = (environment: NodeJS.ProcessEnv) =>
        readDashboardUsers(readConfig({ DASHBOARD_HOST: host, ...environment }));
      expect(() => read({})).toThrow(expect.objectContaining({ code: 'DASHBOARD_NEEDS_LOGIN' }));
      expect(read(VIEWER)).toHaveLength(1);
    },
  );
});
