/** A Pulumi program that makes what `stack.json` says: see engine.test.ts, which copies it into a project. No server is asked. */
import { readFileSync } from "node:fs";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Props, Sketch } from "./stack.ts";

const { sketches, group, chart }: { sketches: Sketch[]; group?: Props[]; chart?: string } = JSON.parse(
  readFileSync("stack.json", "utf8"),
);

const provider = new k8s.Provider("render", { renderYamlToDirectory: "rendered" });

/** What a state remembers of Ringfence's resources, by a provider that makes nothing. */
class Part extends pulumi.dynamic.Resource {
  constructor(type: string, name: string, props: Props, opts: pulumi.CustomResourceOptions) {
    const nothing = { create: async (outs: Props) => ({ id: "1", outs }) };
    super(nothing, name, props, opts, "ringfence", type.split(":").at(-1));
  }
}

class KubernetesObject extends pulumi.CustomResource {}

class Component extends pulumi.ComponentResource {
  constructor(type: string, name: string, props: Props, opts: pulumi.ComponentResourceOptions) {
    super(type, name, {}, opts);
    this.registerOutputs(props);
  }
}

const made = new Map<string, pulumi.Resource>();
for (const { type, name, props, dependsOn = [], parent } of sketches) {
  const above = parent === undefined ? undefined : made.get(parent);
  const opts = { dependsOn: dependsOn.flatMap((other) => made.get(other) ?? []), ...(above && { parent: above }) };
  made.set(name, make(type, name, props, opts));
}

function make(type: string, name: string, props: Props, opts: pulumi.ResourceOptions): pulumi.Resource {
  if (type.startsWith("kubernetes:")) return new KubernetesObject(type, name, props, { ...opts, provider });
  return type.startsWith("pulumi-nodejs:") ? new Part(type, name, props, opts) : new Component(type, name, props, opts);
}

if (group) new k8s.yaml.v2.ConfigGroup("group", { objs: group }, { provider });
if (chart) new k8s.helm.v4.Chart("chart", { chart, namespace: "charted" }, { provider });
