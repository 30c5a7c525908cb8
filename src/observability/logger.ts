import { destination, type Logger, pino } from 'pino';

/**
 * JSON lines on stderr; stdout belongs to data. Written at once: a crash loses no line.
 *
 * @param level debug, info, warn, error or silent
 */
export function createLogger(level: string, service: string): Logger {
  return pino({ level, base: { service, pid: process.pid } }, destination({ dest: 2, sync: true }));
}
