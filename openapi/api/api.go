// Package api is openapi.yaml in Go, for the server: the models, and the strict
// interface that the HTTP adapter implements. Its handlers answer success alone;
// errors they return, and one error handler writes them as problems.
package api

//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config generate.yaml ../openapi.yaml
