/** How `enqueue`, `results`, `run` and `imports` speak of an import: one table, one exit code, one sentence. */
import { type ImportAccount, modelLabel } from '../domain/import.ts';
import { EXIT, formatCounts, formatNumber, formatTotal } from './context.ts';

/** The account with what this call did. */
export interface CommandAccount extends ImportAccount {
  /** Products that this call sent, and that earlier calls did. */
  readonly sentNow: number;
  readonly sentBefore: number;
}

/** @param sentNow products that this call sent */
export function commandAccount(account: ImportAccount, sentNow: number): CommandAccount {
  return { ...account, sentNow, sentBefore: account.sent - sentNow };
}

/** Read = skipped + rejected + categorized + to collect + on the queue + failed + missing. */
export function describeAccount(account: CommandAccount): Record<string, string> {
  const { runId, read, skipped, rejected, rejectedByCode, sentNow, sentBefore } = account;
  const { categorized, answered, waiting, failed, failedByCode, missing, models } = account;
  return {
    run: runId,
    read: read === undefined ? 'not known: not all of it was sent' : formatNumber(read),
    rejected: formatTotal(rejected, rejectedByCode),
    ...(skipped > 0 && { skipped: `${formatNumber(skipped)} rows whose product id occurs more than once` }),
    'sent now': formatNumber(sentNow),
    'sent before': formatNumber(sentBefore),
    categorized: formatNumber(categorized),
    ...(answered > 0 && { 'to collect': formatNumber(answered) }),
    ...(waiting > 0 && { 'on the queue': formatNumber(waiting) }),
    failed: failed === 0 ? '0' : `${formatNumber(failed)} (jobs by code: ${formatCounts(failedByCode)})`,
    missing: formatNumber(missing),
    ...Object.fromEntries(models.map((model) => [`model ${modelLabel(model)}`, countProducts(model.products)])),
  };
}

/**
 * What keeps an import from being accounted for, as one sentence with the command that goes on; undefined where nothing does.
 *
 * @param command what a person types to run the import again
 * @param collects whether the command speaks of the results as well, not only of what was sent
 */
export function incompleteSentence(
  account: ImportAccount,
  command: string | undefined,
  collects: boolean,
): string | undefined {
  const { runId, read, failed, failedByCode, missing, waiting, answered } = account;
  const lost = [
    failed > 0 && `${countProducts(failed)} failed (${formatCounts(failedByCode)})`,
    missing > 0 && `${countProducts(missing)} ${missing === 1 ? 'is' : 'are'} missing`,
    read === undefined && 'not all of it was sent',
  ].filter(Boolean);
  const piped = command !== undefined && / -( |$)/.test(command) ? ' (with the same standard input)' : '';
  const again = `run the same import again${command === undefined ? '' : `: ${command}${piped}`}`;
  if (lost.length > 0) return `run ${runId}: ${lost.join(', ')}; what is lost is sent again when you ${again}`;
  const open = waiting + answered;
  if (!collects || open === 0) return undefined;
  return `run ${runId}: ${countProducts(open)} ${open === 1 ? 'is' : 'are'} still to come; wait for them: categorizer results --run ${runId} --wait`;
}

/** 0 only where every row is accounted for. */
export function exitCodeOf(account: ImportAccount, incomplete: boolean, anyModel: boolean): number {
  if (incomplete) return EXIT.FAILED;
  return account.rejected > 0 || (account.models.length > 1 && !anyModel) ? EXIT.REJECTS : EXIT.DONE;
}

/** `1 product`, `2,994 products`. */
export function countProducts(count: number): string {
  return `${formatNumber(count)} ${count === 1 ? 'product' : 'products'}`;
}
