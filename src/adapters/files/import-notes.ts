import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImportNotes, Logger } from '../../application/ports.ts';
import { messageOf } from '../../domain/errors.ts';

/** As long as Redis remembers an import. */
const KEPT_MS = 30 * 24 * 3600 * 1000;

/**
 * A small file for each import that was sent from this machine: a Redis that was emptied has no memory of its own that it
 * should hold something. Where none can be written (a container without a volume) imports go on without.
 *
 * @param options.directory made when it is needed
 * @param options.target which Redis and which prefix, without secrets: the same run id elsewhere is another run
 */
export function createImportNotes(options: {
  readonly directory: string;
  readonly target: string;
  readonly logger: Logger;
}): ImportNotes {
  const { directory, target, logger } = options;
  const pathOf = (runId: string) => {
    const digest = createHash('sha256').update(`${target}\n${runId}`).digest('hex');
    return join(directory, `${digest.slice(0, 32)}.json`);
  };

  async function removeOld(): Promise<void> {
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      if (/^[0-9a-f]{32}\.json$/.test(name) && Date.now() - (await stat(path)).mtimeMs > KEPT_MS) {
        await rm(path, { force: true });
      }
    }
  }

  return {
    async find(runId) {
      try {
        const { startedAt }: { startedAt: string } = JSON.parse(await readFile(pathOf(runId), 'utf8'));
        return { startedAt: new Date(startedAt) };
      } catch (error) {
        logger.debug({ runId, reason: messageOf(error) }, 'no note of this import');
        return undefined;
      }
    },
    async write(runId) {
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await removeOld();
        await writeFile(pathOf(runId), `${JSON.stringify({ runId, target, startedAt: new Date().toISOString() })}\n`);
      } catch (error) {
        logger.debug({ runId, reason: messageOf(error) }, 'no note of this import could be written');
      }
    },
    async remove(runId) {
      try {
        await rm(pathOf(runId), { force: true });
      } catch (error) {
        logger.debug({ runId, reason: messageOf(error) }, 'the note of this import was not removed');
      }
    },
  };
}
