package hosts_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain/hosts"
)

func TestEveryNameMeansOneModel(t *testing.T) {
	t.Parallel()
	all := hosts.Catalogue()
	require.Greater(t, len(all), 25)
	owner := map[string]string{}
	for i, m := range all {
		if i > 0 {
			assert.Less(t, all[i-1].Name, m.Name)
		}
		for _, n := range append([]string{m.Name}, m.Aliases...) {
			assert.Empty(t, owner[strings.ToLower(n)], n)
			owner[strings.ToLower(n)] = m.Name
			got, ok := hosts.Lookup(n)
			require.True(t, ok, n)
			assert.Equal(t, m, got, n)
		}
	}
}

func TestFiguresArePlausible(t *testing.T) {
	t.Parallel()
	for _, m := range hosts.Catalogue() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			between := func(low, v, high int64, what string) {
				assert.True(t, low <= v && v <= high, "%s is %d", what, v)
			}
			between(8<<10, m.VRAMMB, 256<<10, "memory")
			between(250, m.BandwidthGBs, 10_000, "bandwidth")
			between(50, m.FP32TFLOPS10, 2000, "FP32")
			between(50, m.PowerW, 1200, "power")
			between(2016, int64(m.Year), 2030, "year")
			assert.NotEmpty(t, m.Source)
			// Per clock and multiprocessor the tensor cores of a generation do a fixed
			// multiple of what its other cores do; GeForce and L40 sum up at half rate.
			low, high := int64(198), int64(203)
			switch {
			case m.Architecture == "Hopper":
				low, high = 1380, 1500
			case m.Architecture == "Volta":
				low, high = 790, 810
			case m.Name == "Tesla T4":
				low, high = 795, 810
			case strings.HasPrefix(m.Name, "NVIDIA A100"), m.Name == "NVIDIA A30":
				low, high = 1590, 1610
			case m.Architecture == "Turing", !strings.Contains(m.Name, "GeForce") && m.Name != "NVIDIA L40":
				low, high = 394, 403
			}
			between(low, m.TensorTFLOPS10*100/m.FP32TFLOPS10, high, "tensor per FP32, in percent,")
		})
	}
}

func TestNamesAreFoundAsDriversAndPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"NVIDIA H200":                    "NVIDIA H200",
		"H200":                           "NVIDIA H200",
		"NVIDIA H200 SXM5":               "NVIDIA H200",
		"NVIDIA H200 141GB HBM3e":        "NVIDIA H200",
		"NVIDIA H100 80GB HBM3":          "NVIDIA H100 80GB HBM3",
		"H100 SXM5 80GB":                 "NVIDIA H100 80GB HBM3",
		"h100-sxm":                       "NVIDIA H100 80GB HBM3",
		"NVIDIA H100 PCIe":               "NVIDIA H100 PCIe",
		"H100 PCIe 80GB":                 "NVIDIA H100 PCIe",
		"H100":                           "NVIDIA H100 PCIe",
		"NVIDIA H100 NVL":                "NVIDIA H100 NVL",
		"A100-SXM4-80GB":                 "NVIDIA A100-SXM4-80GB",
		"NVIDIA A100-SXM-80GB":           "NVIDIA A100-SXM4-80GB",
		"NVIDIA A100-SXM4-40GB":          "NVIDIA A100-SXM4-40GB",
		"NVIDIA A100 80GB PCIe":          "NVIDIA A100 80GB PCIe",
		"A100-PCIE-80GB":                 "NVIDIA A100 80GB PCIe",
		"A100-PCIE-40GB":                 "NVIDIA A100-PCIE-40GB",
		"A100 80GB":                      "NVIDIA A100 80GB PCIe",
		"nvidia geforce rtx 4090":        "NVIDIA GeForce RTX 4090",
		"GeForce RTX 4090":               "NVIDIA GeForce RTX 4090",
		"RTX 4090":                       "NVIDIA GeForce RTX 4090",
		"rtx4090":                        "NVIDIA GeForce RTX 4090",
		"4090":                           "NVIDIA GeForce RTX 4090",
		"RTX 4090 24GB":                  "NVIDIA GeForce RTX 4090",
		"RTX_4080_Super":                 "NVIDIA GeForce RTX 4080 SUPER",
		"GeForce RTX 2080 Ti":            "NVIDIA GeForce RTX 2080 Ti",
		"NVIDIA RTX 6000 Ada Generation": "NVIDIA RTX 6000 Ada Generation",
		"RTX 6000 Ada":                   "NVIDIA RTX 6000 Ada Generation",
		"NVIDIA RTX A6000":               "NVIDIA RTX A6000",
		"A6000":                          "NVIDIA RTX A6000",
		"Tesla V100-SXM2-16GB":           "Tesla V100-SXM2-16GB",
		"Tesla V100-PCIE-32GB":           "Tesla V100-PCIE-32GB",
		"V100":                           "Tesla V100-PCIE-16GB",
		"Tesla T4":                       "Tesla T4",
		"NVIDIA T4":                      "Tesla T4",
		"NVIDIA L4":                      "NVIDIA L4",
		"NVIDIA L40S":                    "NVIDIA L40S",
		"L40S PCIe 48GB":                 "NVIDIA L40S",
		"NVIDIA A10":                     "NVIDIA A10",
	} {
		got, ok := hosts.Lookup(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, got.Name, name)
	}
}

func TestOtherModelsAreNotTakenForKnownOnes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", " ", "NVIDIA", "80GB", "SXM", "RTX",
		"NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce RTX 2080", "NVIDIA GeForce RTX 3080 Ti",
		"NVIDIA GeForce RTX 2080 Ti with Max-Q Design", "RTX 3080 12GB", "RTX 4090 48GB", "NVIDIA GeForce RTX 4070 Ti SUPER",
		"NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A100-SXM-64GB", "NVIDIA A100-SXM",
		"NVIDIA H20", "NVIDIA A10G", "NVIDIA A100X", "Quadro RTX 6000", "NVIDIA GH200 480GB", "Tesla V100-DGXS-32GB",
		"AMD Radeon RX 7900 XTX", "AMD Instinct MI300X", "Apple M2 Ultra", "H100 40GB", strings.Repeat("A100 ", 10_000),
	} {
		got, ok := hosts.Lookup(name)
		assert.False(t, ok, "%.80s is taken for %s", name, got.Name)
	}
}

func TestTheCatalogueCannotBeChangedFromOutside(t *testing.T) {
	t.Parallel()
	for _, m := range hosts.Catalogue() {
		clear(m.Aliases)
	}
	m, ok := hosts.Lookup("H200 SXM 141GB")
	require.True(t, ok)
	assert.NotEmpty(t, m.Aliases[0])
}
