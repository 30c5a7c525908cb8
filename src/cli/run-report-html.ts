/** The report of a run as one HTML page that needs nothing else. */
import type { Run, RunReport } from '../application/recategorization/ports.ts';

export interface RunReportPage {
  readonly run: Run;
  readonly report: RunReport;
  /** The run of the same name before it. */
  readonly previous: Run | undefined;
}

export function renderRunReport({ run, report }: RunReportPage): string {
  return `<!doctype html><title>${run.id}</title><pre>${JSON.stringify(report)}</pre>\n`;
}
