/** The directory of `initdb` and `postgres`, where PostgreSQL is installed. */
export function findPostgres(): string | undefined;

export interface PostgresServer {
  /** Its database `postgres`, as the superuser; no password. */
  readonly url: string;
  readonly port: number;
  /** Of the process that runs now: another one after `restart`. */
  readonly pid: number;
  /** Sends a signal and waits for nothing. SIGQUIT ends all of it at once; after SIGKILL queries in work go on. */
  kill(signal: NodeJS.Signals): void;
  /** Ends it as a service manager would: connections are ended, what was committed is kept. */
  stop(): Promise<void>;
  /** Starts it on the same port with the same data, also after `kill` or `stop`. */
  restart(): Promise<void>;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
}

/** Starts a server with no data, on a free port. `settings` are those of postgresql.conf. */
export function startPostgres(options?: {
  readonly settings?: Readonly<Record<string, string>>;
}): Promise<PostgresServer>;
