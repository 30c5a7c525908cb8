import { SingleBar } from 'cli-progress';
import { printableLine } from '../domain/printable.ts';

export interface Progress {
  /** @param total where it is known by now; in the unit of `done` */
  update(done: number, total: number | undefined, note: string): void;
  stop(): void;
}

/** A bar with the time left on standard error where that is a terminal, and nothing elsewhere. */
export function createProgress(): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const bar = new SingleBar({
    format: (options, { progress, eta, total }, payload: { note: string }) => {
      if (total === 0) return payload.note;
      const filled = Math.round(progress * (options.barsize ?? 40));
      const shape = '#'.repeat(filled).padEnd(options.barsize ?? 40, '-');
      const left = Number.isFinite(eta) && eta > 0 ? ` | ${formatSeconds(eta)} left` : '';
      return `${shape} ${Math.floor(100 * progress)}% | ${payload.note}${left}`;
    },
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    barsize: 30,
  });
  bar.start(0, 0, { note: '' });
  return {
    update(done, total, note) {
      if (total !== undefined) bar.setTotal(total);
      bar.update(done, { note: printableLine(note) });
    },
    stop: () => bar.stop(),
  };
}

/** Counts per second since it was made, for the note of a bar. */
export function createRate(): (count: number) => string {
  const start = performance.now();
  return (count) => {
    const seconds = (performance.now() - start) / 1000;
    return `${Math.round(count / Math.max(seconds, 0.001))} a second`;
  };
}

function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
