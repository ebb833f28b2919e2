package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Browser is the path of a Chromium on this machine, or of what is one by another name.
func Browser() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("chromium is not installed")
}

func probeChromium(ctx context.Context) error {
	path, err := Browser()
	if err != nil {
		return err
	}
	return try(ctx, path, "--version")
}

// probeWebApp looks for what was built and for what its tests are made of.
func probeWebApp(ctx context.Context) error {
	root, err := cloneFolder()
	if err != nil {
		return err
	}
	web := filepath.Join(root, "web")
	if err := try(ctx, "node", filepath.Join(web, "build", "node-version.mjs")); err != nil {
		return fmt.Errorf("no Node.js for the web app: %w", err)
	}
	for _, file := range []string{"dist/index.html", "node_modules/playwright-core/package.json"} {
		if _, err := os.Stat(filepath.Join(web, file)); err != nil {
			return errors.New("the web app is not built")
		}
	}
	return nil
}

// cloneFolder goes up from the working directory, which for a test is its package's.
func cloneFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "web", "package.json")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("the working directory is in no clone of PeerGPU")
		}
		dir = up
	}
}
