import { createBullBoard } from '@bull-board/api';
import { ExpressAdapter } from '@bull-board/express';
import type { Express, NextFunction, Request, Response } from 'express';
import type { User } from './sessions.ts';

/** bull-board's view of the queues, as the adapter of the queue makes them. */
export type BoardQueues = Parameters<typeof createBullBoard>[0]['queues'];

const FOREIGN_FONTS = /<link href="https:\/\/fonts\.googleapis\.com[^>]*>/;

type EntryRoute = Parameters<ExpressAdapter['setEntryRoute']>[0];

/** bull-board in a server of our own. */
class BoardAdapter extends ExpressAdapter {
  /** Lets errors through to the server's own handler, which knows what those of Redis mean. */
  override setErrorHandler(): this {
    return super.setErrorHandler((error) => {
      throw error;
    });
  }

  /** The page without its fonts from Google: the browser asks nobody else, and has fonts of its own. */
  override setEntryRoute({ method, route, handler }: EntryRoute): this {
    this.app[method](route, (_request: Request, response: Response, next: NextFunction) => {
      const { name, params } = handler({ basePath: this.basePath, uiConfig: this.uiConfig });
      response.render(name, params, (error: Error | null, html: string) => {
        if (error) next(error);
        else response.send(html.replace(FOREIGN_FONTS, ''));
      });
    });
    return this;
  }
}

/** bull-board for one role. */
export function createBoard(queues: BoardQueues, role: User['role']): Express {
  const serverAdapter = new BoardAdapter();
  createBullBoard({
    queues,
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: 'product-categorizer',
        miscLinks: [{ text: 'Account and logout', url: '/account' }],
        hideDocsLink: true,
        ...(role === 'viewer' && { environment: { label: 'viewer: read-only', color: '#8a5a00', textColor: '#fff' } }),
      },
    },
  });
  const app: Express = serverAdapter.getRouter();
  app.disable('x-powered-by');
  app.disable('etag');
  return app;
}
