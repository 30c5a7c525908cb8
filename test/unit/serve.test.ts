import { expect, it } from 'vitest';
import { serveUntilStopped } from '../../src/cli/serve.ts';
import { createFakeLogger } from '../support/fake-observers.ts';

const SENTENCES = { stopping: 'stopping', late: 'not finished in time' };

function setUp() {
  const stop = new AbortController();
  const codes: number[] = [];
  const notes: string[] = [];
  const logger = createFakeLogger();
  const context = {
    stop: stop.signal,
    exitWith: (code: number) => codes.push(code),
    note: (text: string) => notes.push(text),
  };
  return { stop, codes, notes, logger, context, said: () => logger.lines.map(({ message }) => message) };
}

it('an app that closes in time is stopped with 0', async () => {
  const { stop, codes, logger, context, said } = setUp();
  const start = async () => ({ logger, closeWithin: async () => true });
  const served = serveUntilStopped(start, 1000, context, SENTENCES);
  stop.abort();
  await served;
  expect(codes).toEqual([0]);
  expect(said()).toEqual(['stopping', 'stopped']);
});

it('an app that does not close in time ends with 0 as well, and the log says so', async () => {
  const { stop, codes, logger, context, said } = setUp();
  let given = 0;
  const closeWithin = async (ms: number) => {
    given = ms;
    return false;
  };
  const served = serveUntilStopped(async () => ({ logger, closeWithin }), 1000, context, SENTENCES);
  stop.abort();
  await served;
  expect(codes).toEqual([0]);
  expect(given).toBeLessThan(1000);
  expect(said()).toEqual(['stopping', 'not finished in time']);
});

it('an app that fails to close ends with 0, and the log has every reason', async () => {
  const { stop, codes, logger, context } = setUp();
  const closeWithin = () => Promise.reject(new AggregateError([new Error('no queue'), new Error('no worker')], 'x'));
  const served = serveUntilStopped(async () => ({ logger, closeWithin }), 1000, context, SENTENCES);
  stop.abort();
  await served;
  expect(codes).toEqual([0]);
  expect(logger.lines.at(-1)).toMatchObject({ level: 'error', fields: { reasons: ['no queue', 'no worker'] } });
});

it('an app that never starts is left when its time is over, with 0', async () => {
  const { stop, codes, notes, context } = setUp();
  const served = serveUntilStopped(() => new Promise(() => undefined), 200, context, SENTENCES);
  stop.abort();
  await served;
  expect(codes).toEqual([0]);
  expect(notes).toEqual(['stopped before it had started']);
});

it('an app that cannot start says why, where nobody has stopped it', async () => {
  const { context } = setUp();
  const start = () => Promise.reject(new Error('no model'));
  await expect(serveUntilStopped(start, 1000, context, SENTENCES)).rejects.toThrow('no model');
});
