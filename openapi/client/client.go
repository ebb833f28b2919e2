// Package client is openapi.yaml in Go, for programs that call the API: the renter's
// command line and the tests. Every answer has its body by status, or the problem.
package client

//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config generate.yaml ../openapi.yaml
