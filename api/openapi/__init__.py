"""The OpenAPI document, collected from the operations of the routes."""
