import { expect, it } from 'vitest';
import { createCloser } from '../../src/application/closer.ts';
import { createFakeClock } from '../support/fake-clock.ts';

function setUp() {
  const closed: string[] = [];
  const closer = createCloser();
  const add = (name: string, error?: Error) =>
    closer.add(async () => {
      closed.push(name);
      if (error) throw error;
    });
  return { closer, closed, add };
}

it('closes what was made last first, each once, however often it is called', async () => {
  const { closer, closed, add } = setUp();
  add('connection');
  add('worker');
  await Promise.all([closer.close(), closer.close()]);
  await closer.close();
  expect(closed).toEqual(['worker', 'connection']);
});

it('closes the rest where one fails, and then says what failed', async () => {
  const { closer, closed, add } = setUp();
  add('connection');
  add('queue', new Error('no queue'));
  add('worker', new Error('no worker'));
  const error = await closer.close().catch((thrown: unknown) => thrown);
  expect(closed).toEqual(['worker', 'queue', 'connection']);
  expect(error).toMatchObject({ errors: [{ message: 'no worker' }, { message: 'no queue' }] });
});

it('waits for one step before the next', async () => {
  const closer = createCloser();
  const steps: string[] = [];
  closer.add(async () => steps.push('connection'));
  closer.add(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    steps.push('worker');
  });
  await closer.close();
  expect(steps).toEqual(['worker', 'connection']);
});

it('gives a step that hangs no more than its time, and closes the rest all the same', async () => {
  const { closer, closed, add } = setUp();
  add('connection');
  closer.add(() => new Promise(() => undefined));
  add('worker');
  const clock = createFakeClock();
  const inTime = closer.closeWithin(10_000, clock);
  await clock.advance(10_000);
  expect(await inTime).toBe(false);
  expect(closed).toEqual(['worker', 'connection']);
});

it('says that everything was closed in time', async () => {
  const { closer, closed, add } = setUp();
  add('connection');
  add('worker');
  expect(await closer.closeWithin(10_000, createFakeClock())).toBe(true);
  expect(closed).toEqual(['worker', 'connection']);
});
