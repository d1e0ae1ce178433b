// Shows the OpenAPI description: no framework, no foreign asset, text only (nothing is ever parsed as HTML).
"use strict";

const at = (id) => document.getElementById(id);

function make(tag, ...children) {
  const node = document.createElement(tag);
  node.append(...children.filter((child) => child !== undefined && child !== ""));
  return node;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${typeOf(schema.items) || "values"}`;
  return [schema.type, schema.format].filter(Boolean).join(" ");
}

function rows(head, entries) {
  const line = make("tr", ...head.map((name) => make("th", name)));
  const body = entries.map((cells) => make("tr", ...cells.map((cell) => make("td", cell ?? ""))));
  return make("table", make("thead", line), make("tbody", ...body));
}

function parameterTable(parameters) {
  if (!parameters?.length) return "";
  const entries = parameters.map((one) => [
    one.name, one.in + (one.required ? ", required" : ""), typeOf(one.schema), one.description ?? one.schema?.description,
  ]);
  return rows(["Parameter", "In", "Type", ""], entries);
}

function fieldTable(schema, schemas) {
  const named = schema?.$ref ? schemas[schema.$ref.split("/").pop()] : schema;
  if (!named?.properties) return "";
  const needed = new Set(named.required ?? []);
  const entries = Object.entries(named.properties).map(([name, field]) => [
    name, typeOf(field) + (needed.has(name) ? ", required" : ""), field.description,
  ]);
  return rows(["Field", "Type", ""], entries);
}

function responseTable(responses) {
  const entries = Object.entries(responses).map(([status, one]) => [
    status, one.description, Object.entries(one.content ?? {})
      .map(([kind, content]) => `${kind} ${typeOf(content.schema)}`.trim()).join("; "),
  ]);
  return rows(["Status", "", "Content"], entries);
}

function route(path, method, operation, schemas) {
  const body = operation.requestBody?.content?.["application/json"];
  const example = body?.example ?? Object.values(body?.examples ?? {})[0]?.value;
  const node = make("details",
    make("summary", make("b", method.toUpperCase()), " ", make("code", path), operation.summary ?? ""),
    make("p", operation.description ?? ""),
    parameterTable(operation.parameters),
    body ? fieldTable(body.schema, schemas) : "",
    example ? make("pre", JSON.stringify(example, null, 2)) : "",
    responseTable(operation.responses));
  node.dataset.text = `${method} ${path} ${node.textContent}`.toLowerCase();
  return node;
}

function type(name, schema, schemas) {
  const node = make("details", make("summary", make("code", name)), make("p", schema.description ?? ""),
    schema.enum ? make("p", schema.enum.join(", ")) : "", fieldTable(schema, schemas));
  node.dataset.text = node.textContent.toLowerCase();
  return node;
}

function show(described) {
  at("title").textContent = `${described.info.title} API ${described.info.version}`;
  at("about").textContent = described.info.description;
  const groups = new Map((described.tags ?? []).map((tag) => [tag.name, [tag.description, []]]));
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, ["", []]);
      groups.get(tag)[1].push(route(path, method, operation, described.components?.schemas ?? {}));
    }
  }
  const filled = [...groups].filter(([, [, routes]]) => routes.length);
  const schemas = described.components?.schemas ?? {};
  const types = Object.keys(schemas).sort().map((name) => type(name, schemas[name], schemas));
  at("routes").replaceChildren(...[...filled, ["types", ["What is sent and answered.", types]]]
    .map(([name, [about, nodes]]) => make("section", make("h2", name), make("p", about ?? ""), ...nodes)));
}

async function load() {
  const response = await fetch("../openapi.json");
  at("sign-in").hidden = response.ok;
  if (response.ok) show(await response.json());
}

at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("../session", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token: at("token").value }),
  });
  at("refused").textContent = answer.ok ? "" : (await answer.json()).detail;
  if (answer.ok) load();
});

at("find").addEventListener("input", () => {
  const wanted = at("find").value.trim().toLowerCase();
  for (const node of document.querySelectorAll("details")) {
    node.hidden = wanted !== "" && !node.dataset.text.includes(wanted);
  }
});

load();
