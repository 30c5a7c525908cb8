/** Closes in the reverse order of making, each once, even where one fails. */
export interface Closer {
  add(step: () => Promise<unknown>): void;
  close(): Promise<void>;
}

export function createCloser(): Closer {
  const steps: (() => Promise<void>)[] = [];
  let closing: Promise<void> | undefined;
  return {
    add(step: () => Promise<unknown>): void {
      steps.unshift(async () => void (await step()));
    },
    close(): Promise<void> {
      closing ??= (async () => {
        const errors: unknown[] = [];
        for (const step of steps) await step().catch((error: unknown) => errors.push(error));
        if (errors.length > 0) throw new AggregateError(errors, 'not everything could be closed');
      })();
      return closing;
    },
  };
}
