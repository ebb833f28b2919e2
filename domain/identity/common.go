package identity

import (
	_ "embed"
	"strings"
	"sync"
)

// The most common passwords that have 8 characters or more, one a line.
//
//go:embed common_passwords.txt
var commonList string

var common = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(commonList) {
		set[strings.TrimSpace(line)] = true
	}
	return set
})

func isCommon(password string) bool { return common()[strings.ToLower(password)] }
