import { userInfo } from 'node:os';
import { Command } from 'commander';
import type { Review } from '../application/recategorization/ports.ts';
import type { RunRecords } from '../composition/runs.ts';
import { openTextFile, readModelCategories } from '../composition.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type CommandContext, formatFields, formatTable, integerOption } from './context.ts';
import { timeOf } from './run-text.ts';
import { withRecords } from './runs-context.ts';

export function reviewCommand(context: CommandContext): Command {
  return new Command('review')
    .description('products that a person should look at, because the model is unsure')
    .addCommand(listCommand(context))
    .addCommand(decideCommand(context))
    .addCommand(withdrawCommand(context))
    .addCommand(exportCommand(context));
}

function listCommand(context: CommandContext): Command {
  return new Command('list')
    .description('the products that wait for a decision, the oldest first')
    .option('--decided', 'those that people decided instead')
    .option('--limit <products>', 'how many', integerOption(1, 1_000_000), 100)
    .option('--json', 'print them as JSON, one a line')
    .addHelpText('after', '\nExamples:\n  $ categorizer review list\n  $ categorizer review list --decided --json')
    .action((options: { decided?: boolean; limit: number; json?: boolean }) =>
      withRecords(context, async ({ reviews }) => {
        const found = await reviews.list({ decided: options.decided ?? false, limit: options.limit });
        if (options.json) for (const review of found) context.print(JSON.stringify(review));
        else context.print(found.length === 0 ? 'nothing to review' : formatReviews(found));
      }),
    );
}

function decideCommand(context: CommandContext): Command {
  return new Command('decide')
    .description('say which category a product has; it wins over the model from the next run on')
    .argument('<product>')
    .argument('<category>', 'the code of a category of the model')
    .option('--by <name>', 'who says so', userInfo().username)
    .addHelpText(
      'after',
      `
The ERP can do the same with a row of categorizer.reviews (product_id, decided_category, decided_by).

Examples:
  $ categorizer review decide SKU-1 AUTOPECAS --by ana`,
    )
    .action((productId: string, categoryCode: string, { by }: { by: string }) =>
      withRecords(context, async ({ reviews }) => {
        const known = await readModelCategories(context.config());
        if (!known.includes(categoryCode)) {
          const message = `${JSON.stringify(categoryCode)} is none of the model's categories: ${known.join(', ')}`;
          throw new CategorizerError('UNKNOWN_CATEGORY', message);
        }
        if (!(await reviews.decide(productId, { categoryCode, decidedBy: by }))) {
          throw new CategorizerError('REVIEW_NOT_FOUND', `no run has seen the product ${JSON.stringify(productId)}`);
        }
        context.print(formatFields({ product: productId, category: categoryCode, 'decided by': by }));
      }),
    );
}

function withdrawCommand(context: CommandContext): Command {
  return new Command('withdraw')
    .description('take a decision back: the model is asked again in the next run')
    .argument('<product>')
    .addHelpText('after', '\nExamples:\n  $ categorizer review withdraw SKU-1')
    .action((productId: string) =>
      withRecords(context, async ({ reviews }) => {
        if (!(await reviews.withdraw(productId))) {
          throw new CategorizerError('REVIEW_NOT_FOUND', `nobody decided on the product ${JSON.stringify(productId)}`);
        }
        context.print(formatFields({ product: productId, category: 'as the model says, from the next run on' }));
      }),
    );
}

function exportCommand(context: CommandContext): Command {
  return new Command('export')
    .description('the decisions as training data: product_id, f0, f1 …, category')
    .option('--out <file>', 'where to, as CSV; - for standard output', '-')
    .addHelpText(
      'after',
      '\nExamples:\n  $ categorizer review export --out decisions.csv\n  $ npm run train -- --data decisions.csv --out my-model',
    )
    .action(({ out }: { out: string }) =>
      withRecords(context, ({ reviews }) => exportDecisions(reviews, out, context)),
    );
}

async function exportDecisions(reviews: RunRecords['reviews'], out: string, context: CommandContext): Promise<void> {
  const file = await openTextFile(out);
  let rows = 0;
  try {
    for await (const page of reviews.training()) {
      if (rows === 0) await file.write(`product_id,${page[0].features.map((_, i) => `f${i}`).join(',')},category\n`);
      for (const { productId, features, category } of page) {
        await file.write(`${[cell(productId), ...features, cell(category)].join(',')}\n`);
        rows++;
      }
      context.stop.throwIfAborted();
    }
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }
  context.note(`${rows} decisions${out === '-' ? '' : ` are in ${out}`}`);
  const without = await reviews.withoutFeatures();
  if (without > 0) context.note(`${without} more have no feature vector before the next run`);
}

/** A cell of a CSV. */
function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function formatReviews(reviews: readonly Review[]): string {
  const header = ['product', 'has', 'proposed', 'confidence', 'decided', 'by', 'since'];
  const rows = reviews.map((review) => [
    review.productId,
    review.currentCategory ?? '-',
    review.proposedCategory ?? '-',
    review.confidence?.toFixed(3) ?? '-',
    review.decidedCategory ?? '-',
    review.decidedBy ?? '-',
    timeOf(review.decidedAt ?? review.createdAt),
  ]);
  return formatTable([header, ...rows], header.length);
}
