// Package browser is for the web app as people use it: in a browser, against the real
// server.
package browser
