import { type Command, Redis, type RedisOptions } from 'ioredis';
import { isForbidden } from './redis-errors.ts';

/**
 * A connection for users as hosting companies give them, who may not call INFO. ioredis asks it whether Redis has loaded
 * its data, and BullMQ which version it is: without an answer BullMQ's worker spins for ever and keeps the process from
 * ever seeing a signal. So here INFO has an answer always, made of what HELLO tells where it is forbidden.
 */
export class HostedRedis extends Redis {
  /** BullMQ makes its blocking connection with it. */
  override duplicate(override?: Partial<RedisOptions>): Redis {
    return new HostedRedis({ ...this.options, ...override, replyMapping: 'legacy' });
  }

  override sendCommand(command: Command, ...stream: [Parameters<Redis['sendCommand']>[1]?]): unknown {
    // With a section it is asked by this program, which knows what to do with a refusal.
    if (command.name === 'info' && command.args.length === 0) this.answerAlways(command);
    return super.sendCommand(command, ...stream);
  }

  private answerAlways(command: Command): void {
    const { resolve, reject } = command;
    // BullMQ would print a line of its own about the policy for each of its objects; readiness tells of it.
    command.resolve = (info: Buffer | string) => resolve(String(info).replace(/^maxmemory_policy:.*$/m, ''));
    command.reject = (error) => {
      if (!isForbidden(error)) reject(error);
      else this.versionByHello().then(resolve, () => resolve(''));
    };
  }

  private async versionByHello(): Promise<string> {
    const reply = await this.call('HELLO');
    const fields: unknown[] = Array.isArray(reply) ? reply : [];
    return `redis_version:${fields[fields.indexOf('version') + 1]}\r\n`;
  }
}
