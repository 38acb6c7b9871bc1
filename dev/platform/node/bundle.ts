/**
 * `node bundle.ts … create --bundle DIRECTORY …`, before a runc without libseccomp gets the same arguments: takes the seccomp
 * profile out of the container's configuration, which that runc would refuse. (The kubelet wants one for every sandbox.)
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const { argv } = process;
const bundle = argv[argv.indexOf("--bundle") + 1] ?? "";
const path = join(bundle, "config.json");
const config = JSON.parse(readFileSync(path, "utf8"));
delete config.linux?.seccomp;
writeFileSync(path, JSON.stringify(config));
