// Pulumi's Node.js language host, for a CLI that was built from its Go module: the official host is not published as
// one. It speaks Pulumi's LanguageRuntime service and leaves the work to the programs that @pulumi/pulumi ships under
// cmd/. A downloaded CLI brings the official host and never sees this file.
//
// CommonJS without dependencies of its own: it lives in ~/.pulumi, and takes gRPC and the protocol's messages from the
// @pulumi/pulumi of the project that it serves. What the CLI can do without is left unimplemented, as gRPC says it.
"use strict";

const { spawn } = require("node:child_process");
const { existsSync, readdirSync, readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { dirname, join, resolve } = require("node:path");

/** `cmd/run` exits with this code after it has told the user all there is to tell. */
const ALREADY_REPORTED = 32;
/** First argument of the process that runs a policy pack without ts-node, see runNativePolicyPack. */
const NATIVE_POLICY_PACK = "--native-policy-pack";

if (process.argv[2] === NATIVE_POLICY_PACK) runNativePolicyPack();
else serve(process.argv.at(-1)); // the engine's address always comes last

/** Runs `cmd/run-policy-pack` with Node's own type stripping: the program itself always puts ts-node in between. */
function runNativePolicyPack() {
  const [entry] = process.argv.splice(1, 3, process.argv[3]).slice(2);
  const runner = require(join(dirname(entry), "run"));
  const { run } = runner;
  runner.run = (options) => run({ ...options, typeScript: false });
  require(entry);
}

/** @param {string} engine host:port of the engine's gRPC server */
function serve(engine) {
  const project = pulumiOf(process.cwd());
  if (!project) {
    process.stderr.write(`@pulumi/pulumi is not installed in ${process.cwd()} or above: run \`npm install\` there\n`);
    process.exit(1);
  }
  const grpc = project("@grpc/grpc-js");
  const messages = project("./proto/language_pb.js");
  const { LanguageRuntimeService } = project("./proto/language_grpc_pb.js");
  const { PluginDependency, PluginInfo } = project("./proto/plugin_pb.js");
  const { Empty } = project("google-protobuf/google/protobuf/empty_pb.js");
  const children = new Set();

  /** Starts a program that ends with this host at the latest. */
  function start(command, args, options) {
    const child = spawn(command, args, options);
    children.add(child);
    child.once("close", () => children.delete(child));
    return child;
  }

  /** Starts a program whose output is streamed to the caller, and which a cancelled call takes down. */
  function stream(call, Response, child, ended) {
    const send = (set) => (chunk) => {
      const response = new Response();
      response[set](chunk);
      call.write(response);
    };
    child.stdout.on("data", send("setStdout"));
    child.stderr.on("data", send("setStderr"));
    child.once("error", (error) => call.emit("error", { code: grpc.status.INTERNAL, details: error.message }));
    child.once("close", (code, signal) => ended(code ?? 1, signal));
    call.on("cancelled", () => child.kill());
  }

  const methods = {
    getPluginInfo(_call, reply) {
      const info = new PluginInfo();
      info.setVersion(project("./package.json").version);
      reply(null, info);
    },

    getRequiredPlugins({ request }, reply) {
      const response = new messages.GetRequiredPluginsResponse();
      for (const manifest of installed(request.getInfo().getProgramDirectory())) {
        if (!manifest.pulumi?.resource) continue;
        const plugin = new PluginDependency();
        plugin.setKind("resource");
        plugin.setName(manifest.pulumi.name ?? manifest.name.replace(/^@pulumi\//, "").replace(/^@/, ""));
        plugin.setVersion(`v${(manifest.pulumi.version ?? manifest.version).replace(/^v/, "")}`);
        plugin.setServer(manifest.pulumi.server ?? "");
        response.addPlugins(plugin);
      }
      reply(null, response);
    },

    getProgramDependencies({ request }, reply) {
      const directory = request.getInfo().getProgramDirectory();
      const { dependencies, devDependencies } = nearestManifest(directory) ?? {};
      const direct = { ...dependencies, ...devDependencies };
      const response = new messages.GetProgramDependenciesResponse();
      for (const { name, version } of installed(directory)) {
        if (!request.getTransitivedependencies() && !(name in direct)) continue;
        const dependency = new messages.DependencyInfo();
        dependency.setName(name);
        dependency.setVersion(version);
        response.addDependencies(dependency);
      }
      reply(null, response);
    },

    about(_call, reply) {
      const response = new messages.AboutResponse();
      response.setExecutable(process.execPath);
      response.setVersion(process.version);
      reply(null, response);
    },

    installDependencies(call) {
      const info = call.request.getInfo();
      const manager = optionsOf(info).packagemanager ?? "npm";
      const child = start(manager, ["install"], { cwd: info.getProgramDirectory(), stdio: ["ignore", "pipe", "pipe"] });
      stream(call, messages.InstallDependenciesResponse, child, (code) => {
        if (code === 0) call.end();
        else call.emit("error", { code: grpc.status.UNKNOWN, details: `${manager} install: exit status ${code}` });
      });
    },

    run({ request }, reply) {
      const options = optionsOf(request.getInfo());
      const env = {
        ...process.env,
        PULUMI_NODEJS_TYPESCRIPT: String(options.typescript ?? true),
        PULUMI_CONFIG: JSON.stringify(
          Object.fromEntries(
            request
              .getConfigMap()
              .getEntryList()
              .map(([key, value]) => [longKey(key), value]),
          ),
        ),
        PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
      };
      if (options.tsconfig) env.PULUMI_NODEJS_TSCONFIG_PATH = options.tsconfig;
      const flags = {
        monitor: request.getMonitorAddress(),
        engine,
        organization: request.getOrganization(),
        project: request.getProject(),
        "root-directory": request.getInfo().getRootDirectory(),
        stack: request.getStack(),
        pwd: request.getPwd(),
        parallel: String(request.getParallel()),
      };
      const args = [
        ...(options.nodeargs?.split(/\s+/).filter(Boolean) ?? []),
        project.resolve("./cmd/run"),
        ...Object.entries(flags).flatMap(([flag, value]) => (value ? [`--${flag}`, value] : [])),
        ...(request.getDryrun() ? ["--dry-run"] : []),
        request.getProgram() || ".",
        ...request.getArgsList(),
      ];
      const child = start(process.execPath, args, { env, stdio: ["ignore", "inherit", "inherit"] });
      const answer = (error, bail = false) => {
        const response = new messages.RunResponse();
        response.setError(error);
        response.setBail(bail);
        reply(null, response);
      };
      child.once("error", (error) => answer(`Node.js did not start: ${error.message}`));
      child.once("close", (code, signal) => {
        if (code === ALREADY_REPORTED) answer("", true);
        else if (signal) answer(`Program was ended by ${signal}`);
        else answer(code === 0 ? "" : `Program exited with non-zero exit code: ${code}`);
      });
    },

    runPlugin(call) {
      const { request } = call;
      const directory = request.getInfo().getProgramDirectory();
      const policyPack = request.getKind() === "analyzer";
      const plugin = pulumiOf(directory) ?? createRequire(join(directory, "package.json"));
      const args = [];
      try {
        // A pack brings its own @pulumi/pulumi, whatever the language of the program that it judges.
        if (policyPack) {
          if (optionsOf(request.getInfo()).typescript === false) args.push(__filename, NATIVE_POLICY_PACK);
          args.push(plugin.resolve("@pulumi/pulumi/cmd/run-policy-pack"), ...request.getArgsList(), directory);
        } else {
          args.push(plugin.resolve("@pulumi/pulumi/cmd/run-plugin"), directory, ...request.getArgsList());
        }
      } catch (error) {
        call.emit("error", { code: grpc.status.NOT_FOUND, details: `${directory}: ${error.message.split("\n")[0]}` });
        return;
      }
      const env = Object.fromEntries(request.getEnvList().map((entry) => entry.split(/=(.*)/s, 2)));
      const cwd = policyPack ? directory : request.getPwd();
      const child = start(process.execPath, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
      stream(call, messages.RunPluginResponse, child, (code) => {
        const response = new messages.RunPluginResponse();
        response.setExitcode(code);
        call.write(response);
        call.end();
      });
    },

    cancel(_call, reply) {
      for (const child of children) child.kill();
      reply(null, new Empty());
    },
  };

  const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(LanguageRuntimeService, methods);
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.stdout.write(`${port}\n`);
  });
  endWithEngine(grpc, engine, () => {
    for (const child of children) child.kill();
    process.exit();
  });
}

/** A CLI that was killed cannot stop its host: the host notices that the engine's address no longer answers. */
function endWithEngine(grpc, engine, end) {
  const channel = new grpc.Channel(engine, grpc.credentials.createInsecure(), {});
  const watch = () => {
    const state = channel.getConnectivityState(true);
    if (state === grpc.connectivityState.TRANSIENT_FAILURE) end();
    else channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, watch);
  };
  watch();
}

/** A `require` as seen from the @pulumi/pulumi that `directory` resolves, or undefined when there is none. */
function pulumiOf(directory) {
  try {
    return createRequire(require.resolve("@pulumi/pulumi/package.json", { paths: [directory] }));
  } catch {
    return undefined;
  }
}

/** The `runtime.options` of Pulumi.yaml or PulumiPolicy.yaml. */
function optionsOf(info) {
  return info.getOptions()?.toJavaScript() ?? {};
}

/** `namespace:name` as `namespace:config:name`, the form that every version of @pulumi/pulumi reads. */
function longKey(key) {
  return key.includes(":config:") ? key : key.replace(":", ":config:");
}

function ancestors(directory) {
  const parent = dirname(directory);
  return parent === directory ? [directory] : [directory, ...ancestors(parent)];
}

function readManifest(directory) {
  try {
    return JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  } catch {
    return undefined;
  }
}

function nearestManifest(directory) {
  return ancestors(resolve(directory)).map(readManifest).find(Boolean);
}

/** The manifests of all packages that a program in `directory` can import; of two with one name, the nearer. */
function installed(directory) {
  const found = new Map();
  for (const modules of ancestors(resolve(directory)).map((ancestor) => join(ancestor, "node_modules"))) {
    if (!existsSync(modules)) continue;
    const names = readdirSync(modules).flatMap((name) =>
      name.startsWith("@") ? readdirSync(join(modules, name)).map((scoped) => `${name}/${scoped}`) : [name],
    );
    for (const name of names) {
      const manifest = found.has(name) ? undefined : readManifest(join(modules, name));
      if (manifest?.name && manifest.version) found.set(name, manifest);
    }
  }
  return [...found.values()];
}
