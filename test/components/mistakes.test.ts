import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { Vertex } from "../../components/index.ts";
import { failureOf, run } from "./engine.ts";
import { chat } from "./scene.ts";

describe("a mistake in a pipeline's args", () => {
  it("ends the program at once, with a line for each, without a stack", async () => {
    const vertices = { Web: { image: "i" }, worker: { image: "i", replicas: -1, ports: { http: 0 } } };
    await assert.rejects(
      run(() => {
        assert.throws(() => chat({ vertices }), isResourceError);
        chat({ vertices });
      }),
      (error: unknown) => {
        assert.ok(isResourceError(error));
        assert.equal(error.hideStack, true);
        assert.deepEqual(error.message.split("\n"), [
          "chat.vertices.Web: found the name 'Web'; it may hold lower-case letters, digits and inner hyphens only (RFC 1123)",
          "chat.vertices.worker.replicas: found -1; expected a whole number, 0 or more",
          "chat.vertices.worker.ports.http: found 0; expected a port from 1 to 65535",
        ]);
        return true;
      },
    );
  });

  it("ends it at once beside inputs that are not known yet", async () => {
    const env = { TOKEN: pulumi.output(Promise.resolve("hunter2")) };
    const vertices = { web: { image: "i", replicas: 0.5, env } };
    await run(() => {
      assert.throws(() => chat({ vertices }), {
        message: "chat.vertices.web.replicas: found 0.5; expected a whole number, 0 or more",
      });
    }).catch(() => undefined);
  });

  it("ends it when it is in an input that becomes known", async () => {
    const error = await failureOf(() => chat({ vertices: { web: { image: "i", replicas: pulumi.output(-1) } } }));
    assert.ok(isResourceError(error), `${error}`);
    // Pulumi puts its own words in front, for the input that it was about to send.
    assert.match(error.message, /chat\.vertices\.web\.replicas: found -1; expected a whole number, 0 or more$/);
  });

  it("is a vertex that wants GPUs and has no pool", async () => {
    const error = await failureOf(() => chat({ vertices: { web: { image: "i", gpus: pulumi.output(1) } } }));
    assert.match(
      error.message,
      /chat\.vertices\.web\.pool: found nothing; expected the name of a pool, .* GPUs \(1\)$/,
    );
  });

  it("is a vertex of a name that its tenant does not have", async () => {
    const error = await failureOf(() => {
      const { tenant } = chat({ vertices: { web: { image: "i" } } });
      new Vertex("extra", {
        tenant,
        pipeline: "chat",
        vertex: "x",
        image: "i",
        replicas: 1,
        phase: "Running",
        planDigest: "",
      });
    });
    assert.equal(error.message, "extra.vertex: found 'x'; expected one of the tenant's users (web)");
  });
});

const isResourceError = (error: unknown): error is pulumi.ResourceError => pulumi.ResourceError.isInstance(error);
