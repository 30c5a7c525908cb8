import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';

/** The labels of each series by its name, those included that the scrape adds. */
export type Series = ReadonlyMap<string, ReadonlySet<string>>;

/** Labels of every sample of a vector, or that it is no vector. */
type Shape = ReadonlySet<string> | 'scalar';

interface CheckedQuery {
  /** A sentence for each thing that is wrong. */
  readonly problems: readonly string[];
  /** Labels of its result; none for a scalar. */
  readonly labels: ReadonlySet<string>;
}

const EXPRESSIONS = new Set([
  'VectorSelector',
  'MatrixSelector',
  'SubqueryExpr',
  'AggregateExpr',
  'BinaryExpr',
  'UnaryExpr',
  'ParenExpr',
  'OffsetExpr',
  'StepInvariantExpr',
  'FunctionCall',
  'NumberDurationLiteral',
  'StringLiteral',
]);
const SCALAR_FUNCTIONS = new Set(['scalar', 'time', 'pi']);
const LABEL_MAKERS = new Set(['label_replace', 'label_join']);
const KEEP_LABELS = new Set(['topk', 'bottomk', 'limitk', 'limit_ratio']);
const SET_OPERATORS = ['And', 'Or', 'Unless'];

/**
 * Reads a query and follows the labels through it: a series that does not exist, a label that its vector has not, and
 * two sides of an operator whose labels can never be the same are problems. What does not parse is one as well.
 */
export function checkPromql(query: string, series: Series): CheckedQuery {
  const tree = parser.parse(query);
  const broken: number[] = [];
  tree.iterate({ enter: ({ type, from }) => void (type.isError && broken.push(from)) });
  if (broken.length > 0) return { problems: [`does not parse at character ${broken[0]}`], labels: new Set() };

  const problems: string[] = [];
  const textOf = ({ from, to }: SyntaxNode) => query.slice(from, to);
  const operandsOf = (node: SyntaxNode) => childrenOf(node).filter(({ name }) => EXPRESSIONS.has(name));

  function need(labels: readonly string[], shape: Shape, where: string): void {
    if (shape === 'scalar') return;
    for (const label of labels) if (!shape.has(label)) problems.push(`no label ${label} in ${where}`);
  }

  function selectorShape(node: SyntaxNode): Shape {
    const matchers = childrenOf(node.getChild('LabelMatchers'));
    const named = matchers.find((matcher) => /^__name__\s*=\s*"/.test(textOf(matcher)));
    const identifier = node.getChild('Identifier');
    const name = identifier ? textOf(identifier) : named && JSON.parse(textOf(named).replace(/^[^"]*/, ''));
    const labels = series.get(name);
    if (labels === undefined) {
      problems.push(`nobody exports ${name ?? textOf(node)}`);
      return 'scalar';
    }
    const asked = matchers.flatMap((matcher) => matcher.getChildren('LabelName').map(textOf));
    need(
      asked.filter((label) => label !== '__name__'),
      labels,
      name,
    );
    return labels;
  }

  function groupingOf(node: SyntaxNode | null): string[][] {
    return (node?.getChildren('GroupingLabels') ?? []).map((list) => list.getChildren('LabelName').map(textOf));
  }

  function aggregateShape(node: SyntaxNode): Shape {
    const operator = textOf(childrenOf(node)[0]);
    const operands = childrenOf(node.getChild('FunctionCallBody'));
    const shapes = operands.map(shapeOf);
    const inner = shapes[shapes.length - 1];
    const modifier = node.getChild('AggregateModifier');
    const [grouping = []] = groupingOf(modifier);
    need(grouping, inner, textOf(operands[operands.length - 1]));
    if (KEEP_LABELS.has(operator) || inner === 'scalar') return inner;
    if (modifier?.getChild('Without')) return minus(inner, grouping);
    return new Set(operator === 'count_values' ? [...grouping, JSON.parse(textOf(operands[0]))] : grouping);
  }

  function binaryShape(node: SyntaxNode): Shape {
    const [left, right] = operandsOf(node).map(shapeOf);
    if (left === 'scalar') return right;
    if (right === 'scalar') return left;
    const matching = node.getChild('MatchingModifierClause');
    const [labels = [], extra = []] = groupingOf(matching);
    const on = matching?.getChild('On');
    for (const side of [left, right]) need(labels, side, textOf(node));
    const matched = on ? [labels, labels] : [minus(left, labels), minus(right, labels)].map((side) => [...side]);
    const isOr = node.getChild('Or') !== null;
    if (!isOr && matched[0].toSorted().join() !== matched[1].toSorted().join()) {
      problems.push(`sides with labels (${matched[0]}) and (${matched[1]}) never match in ${textOf(node)}`);
    }
    if (isOr) return new Set([...left, ...right]);
    if (SET_OPERATORS.some((name) => node.getChild(name))) return left;
    const [many, one] = matching?.getChild('GroupRight') ? [right, left] : [left, right];
    if (matching?.getChild('GroupLeft') || matching?.getChild('GroupRight')) {
      need(extra, one, textOf(node));
      return new Set([...many, ...extra]);
    }
    return new Set(matched[0]);
  }

  function functionShape(node: SyntaxNode): Shape {
    const name = textOf(childrenOf(node)[0]);
    const operands = childrenOf(node.getChild('FunctionCallBody'));
    const shapes = operands.map(shapeOf);
    if (SCALAR_FUNCTIONS.has(name)) return 'scalar';
    const vector = shapes.find((shape) => shape !== 'scalar') ?? new Set<string>();
    if (LABEL_MAKERS.has(name)) return new Set([...vector, JSON.parse(textOf(operands[1]))]);
    return name === 'histogram_quantile' ? minus(vector, ['le']) : vector;
  }

  function shapeOf(node: SyntaxNode): Shape {
    if (node.name === 'VectorSelector') return selectorShape(node);
    if (node.name === 'AggregateExpr') return aggregateShape(node);
    if (node.name === 'BinaryExpr') return binaryShape(node);
    if (node.name === 'FunctionCall') return functionShape(node);
    const [first] = operandsOf(node).map(shapeOf);
    return first ?? 'scalar';
  }

  const shape = shapeOf(tree.topNode);
  return { problems, labels: shape === 'scalar' ? new Set() : shape };
}

/** The series of an exposition in Prometheus' text format, with these labels added to each. */
export function seriesOf(exposition: string, scrapeLabels: readonly string[]): Map<string, ReadonlySet<string>> {
  const series = new Map<string, ReadonlySet<string>>();
  for (const [, name, labels = ''] of exposition.matchAll(/^([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$/gm)) {
    const own = [...labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)].map(([, label]) => label);
    series.set(name, new Set([...(series.get(name) ?? scrapeLabels), ...own]));
  }
  return series;
}

function childrenOf(node: SyntaxNode | null): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node?.firstChild; child; child = child.nextSibling) children.push(child);
  return children;
}

function minus(labels: ReadonlySet<string>, gone: readonly string[]): Set<string> {
  return new Set([...labels].filter((label) => !gone.includes(label)));
}
