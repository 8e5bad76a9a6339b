/** The service's calls, as Swagger UI shows the OpenAPI document. */

SwaggerUIBundle({ url: "/openapi.json", dom_id: "#calls", deepLinking: true });
