import { randomUUID } from 'node:crypto';
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express';
import type { CategorizeProducts } from '../../application/categorize-products.ts';
import type { CheckReadiness } from '../../application/check-readiness.ts';
import type { HttpObserver, Logger } from '../../application/ports.ts';
import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import { describe } from '../../domain/features.ts';
import { probabilitiesOf } from '../../domain/prediction.ts';
import { readProducts } from '../../domain/product.ts';
import { type ListeningServer, listen } from './listen.ts';

const BODY_LIMIT = '1mb';
const REQUEST_ID = /^[\w.:-]{1,100}$/;

export interface HttpServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** The names of the variables for address and port. */
  readonly settings: string;
  /** Answers `POST /predict`; none where this process has no model. */
  readonly predict?: PredictOptions;
  readonly checkReadiness: CheckReadiness;
  readonly exposeMetrics: () => Promise<{ readonly text: string; readonly contentType: string }>;
  readonly observer: HttpObserver;
  readonly logger: Logger;
}

interface PredictOptions {
  readonly model: ModelInfo;
  readonly categorizeProducts: CategorizeProducts;
}

/** Health, readiness, metrics and, where there is a model, single predictions. @throws CategorizerError `HTTP_NOT_LISTENING` */
export function createHttpServer(options: HttpServerOptions): Promise<ListeningServer> {
  const { host, port, settings, logger } = options;
  return listen(createApp(options), { host, port, settings, logger });
}

function createApp(options: HttpServerOptions): Express {
  const { predict, checkReadiness, exposeMetrics, logger } = options;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(withRequestId);
  app.use(observed(options.observer));

  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.get('/readyz', async (_request, response) => {
    const { ready, problems } = await checkReadiness();
    response.status(ready ? 200 : 503).json(ready ? { status: 'ready' } : { status: 'not ready', problems });
  });
  app.get('/metrics', async (_request, response) => {
    const { text, contentType } = await exposeMetrics();
    // Not through send(), which would add a second charset.
    response.setHeader('content-type', contentType);
    response.end(text);
  });
  // The body is JSON whatever its type says: `curl -d` sends that of a form.
  const body = express.json({ limit: BODY_LIMIT, type: () => true, strict: false });
  if (predict) app.post('/predict', body, predictRoute(predict));

  app.use((request, response) => {
    response.status(404).json({ error: `no such route: ${request.method} ${request.path}` });
  });
  app.use(answerError(logger));
  return app;
}

function predictRoute({ categorizeProducts, model }: PredictOptions) {
  return async (request: Request, response: Response): Promise<void> => {
    const body: unknown = request.body;
    if (typeof body !== 'object' || body === null || !('features' in body)) {
      response.status(400).json({ error: `expected a JSON object with features, got ${describe(body)}` });
      return;
    }
    const product = { productId: requestIdOf(response), features: body.features };
    const { predictions, rejects } = await categorizeProducts(readProducts([product], model.width));
    if (rejects.length > 0) {
      const [{ code, message }] = rejects;
      response.status(code === 'PREDICTION_FAILED' ? 500 : 400).json({ error: message, code });
      return;
    }
    const category = model.categories[predictions.categoryIndexes[0]];
    response.json({
      category_code: category.code,
      category_name: category.name,
      probabilities: probabilitiesOf(predictions, 0),
    });
  };
}

function withRequestId(request: Request, response: Response, next: () => void): void {
  const given = request.get('x-request-id');
  response.setHeader('x-request-id', given !== undefined && REQUEST_ID.test(given) ? given : randomUUID());
  next();
}

function requestIdOf(response: Response): string {
  return String(response.getHeader('x-request-id'));
}

/** The route and never the URL: anybody can make up URLs, and each would be a time series. */
function observed(observer: HttpObserver) {
  return (request: Request, response: Response, next: () => void): void => {
    const start = performance.now();
    response.once('finish', () => {
      const route: unknown = request.route?.path;
      observer.answered({
        path: typeof route === 'string' ? route : 'other',
        method: request.method,
        status: response.statusCode,
        seconds: (performance.now() - start) / 1000,
      });
    });
    next();
  };
}

function answerError(logger: Logger): ErrorRequestHandler {
  return (error: unknown, _request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    const { status, body } = toAnswer(error);
    if (status >= 500) {
      logger.error({ requestId: requestIdOf(response), reason: messageOf(error) }, 'request failed');
    }
    response.status(status).json(body);
  };
}

function toAnswer(error: unknown): { status: number; body: { error: string; code?: string } } {
  if (error instanceof CategorizerError && error.retryable) {
    return { status: 503, body: { error: error.message, code: error.code } };
  }
  // The body parser's errors carry their status and whether their message may be shown.
  if (error instanceof Error && 'status' in error && 'expose' in error && error.expose === true) {
    const limit = 'limit' in error ? ` (at most ${error.limit} bytes)` : '';
    return { status: Number(error.status), body: { error: `${error.message}${limit}` } };
  }
  return { status: 500, body: { error: 'internal error; the log has it under the request id' } };
}
