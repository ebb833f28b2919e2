package adapters

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Variable is one line of the configuration's table.
type Variable struct{ Name, Default, Doc string }

// Variables lists the configuration, for the table in README.md and for --help.
func Variables() []Variable {
	var list []Variable
	for f := range reflect.TypeFor[Config]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			continue
		}
		list = append(list, Variable{name, f.Tag.Get("envDefault"), f.Tag.Get("doc")})
	}
	return list
}

const ourPrefix = "PEERGPU_"

// agentVariables may be set where server and agent run on one machine.
var agentVariables = []string{"PEERGPU_AGENT_HOME", "PEERGPU_ENROLLMENT_TOKEN"}

// unknownVariables lists what of an environment has our prefix and is no variable of ours.
func unknownVariables(environ []string) (unknown []string) {
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		isName := func(v Variable) bool { return v.Name == name }
		if strings.HasPrefix(name, ourPrefix) && !slices.Contains(agentVariables, name) && !slices.ContainsFunc(Variables(), isName) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// misspelt refuses the unknown variables that are nearly ours: a limit or a secret that was
// meant would have no effect. The others may be anybody's: an orchestrator names some after
// its services.
func misspelt(unknown []string) error {
	var wrong []error
	for _, name := range unknown {
		for _, v := range Variables() {
			if nearly(strings.TrimPrefix(name, ourPrefix), strings.TrimPrefix(v.Name, ourPrefix)) {
				wrong = append(wrong, fmt.Errorf("%s: there is no such variable: did you mean %s?", name, v.Name))
				break
			}
		}
	}
	return errors.Join(wrong...)
}

// nearly says that two words differ in one place, by two letters or a third of the longer.
func nearly(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	before := 0
	for before < len(a) && a[before] == b[before] {
		before++
	}
	after := 0
	for after < len(a)-before && a[len(a)-1-after] == b[len(b)-1-after] {
		after++
	}
	return len(b)-before-after <= max(2, len(b)/3)
}
