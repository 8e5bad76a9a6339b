/** Shows the service's OpenAPI document with Swagger UI. */

SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", deepLinking: true });
