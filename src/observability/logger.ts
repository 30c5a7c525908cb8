import { destination, type Logger, pino } from 'pino';
import { printable } from '../domain/printable.ts';

/**
 * JSON lines on stderr; stdout belongs to data. Written at once: a crash loses no line.
 *
 * @param level debug, info, warn, error or silent
 */
export function createLogger(level: string, service: string): Logger {
  const sink = destination({ dest: 2, sync: true });
  // JSON leaves the controls above 127 as they are, which a terminal obeys as well.
  const stream = { write: (line: string) => void sink.write(printable(line)) };
  return pino({ level, base: { service, pid: process.pid } }, stream);
}
