package adapters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// readyWithin is how long a server may take to say that it is ready.
const readyWithin = 3 * time.Second

// Ready asks the server of this configuration on this machine whether it takes requests,
// and tells what is to blame if it does not.
func Ready(ctx context.Context, c Config) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("nobody answers: %w", errors.Unwrap(err))
	}
	defer response.Body.Close()
	var answer struct {
		Status string
		Checks []struct {
			Name string
			OK   bool
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("what answers at %s is no PeerGPU server", c.Listen)
	}
	if response.StatusCode == http.StatusOK {
		return nil
	}
	blame := []string{answer.Status}
	for _, check := range answer.Checks {
		if !check.OK {
			blame = append(blame, check.Name)
		}
	}
	return fmt.Errorf("it is not ready: %s", strings.Join(blame, ", "))
}
