/** Prometheus' own judge of rules: `promtool`, which evaluates them over series that a test makes up. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Context } from "mocha";
import type { RuleGroup } from "../../components/plan/observability/alerts.ts";
import { ensureTools, testCatalog } from "../../dev/tools/index.ts";
import { skip } from "../support/skip.ts";

/** An alert as it shall stand at a time. */
export interface Firing {
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

export interface Scenario {
  groups: RuleGroup[];
  /** Series → values a minute, in promtool's notation: `0+1x10` is 0, 1, … 10; `_` is no sample. */
  series: Record<string, string>;
  /** Minutes from the start. */
  at: number;
  /** Name of the alert → what of it fires. */
  expected: Record<string, Firing[]>;
}

export class Promtool {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Brings it, which takes minutes the first time; skips the suite where it cannot be had. */
  static async bring(context: Context): Promise<Promtool> {
    context.timeout(20 * 60_000);
    try {
      const { promtool } = await ensureTools({ catalog: testCatalog(), log: () => {} });
      return new Promtool(promtool?.path ?? "promtool");
    } catch (error) {
      return skip(context, `no promtool: ${(error as Error).message}`);
    }
  }

  /** Holds alerts to what they shall do over made-up series. */
  async holds({ groups, series, at, expected }: Scenario): Promise<void> {
    const test = {
      interval: "1m",
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      alert_rule_test: Object.entries(expected).map(([alertname, firing]) => ({
        eval_time: `${at}m`,
        alertname,
        exp_alerts: firing.map(({ labels, annotations }) => ({ exp_labels: labels, exp_annotations: annotations })),
      })),
    };
    await this.#run(["test", "rules", "test.json"], {
      "rules.json": { groups },
      "test.json": { rule_files: ["rules.json"], evaluation_interval: "1m", tests: [test] },
    });
  }

  /** Parses rules as Prometheus would load them. */
  async accepts(groups: object[]): Promise<void> {
    await this.#run(["check", "rules", "--lint=all", "--lint-fatal", "rules.json"], { "rules.json": { groups } });
  }

  /** Reads text as Prometheus would scrape it, and lints names and help texts. */
  async acceptsMetrics(text: string): Promise<void> {
    await this.#run(["check", "metrics"], {}, text);
  }

  async #run(args: string[], files: Record<string, object>, input = ""): Promise<void> {
    const directory = mkdtempSync(join(tmpdir(), "ringfence-promtool-"));
    try {
      for (const [name, content] of Object.entries(files))
        writeFileSync(join(directory, name), JSON.stringify(content));
      await new Promise<void>((done, fail) => {
        const child = execFile(this.#path, args, { cwd: directory }, (error, stdout, stderr) =>
          error
            ? fail(new assert.AssertionError({ message: `promtool ${args.join(" ")}\n${stdout}${stderr}` }))
            : done(),
        );
        child.stdin?.end(input);
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  }
}
