package hosts

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Model is a GPU model with its data-sheet figures. They rank devices until these
// have been measured; throughput is in tenths of 10¹² operations per second.
type Model struct {
	Name         string   // as nvidia-smi prints it
	Aliases      []string // other names that Lookup cannot derive
	VRAMMB       int64    // the data sheet's GB × 1024; drivers report slightly less
	BandwidthGBs int64    // of the memory, in 10⁹ bytes per second
	FP32TFLOPS10 int64    // without tensor cores
	// TensorTFLOPS10 is what training and inference can get out of the tensor
	// cores: FP16 or BF16 products summed up in FP32, of dense matrices. Data sheets
	// often print twice that, which needs matrices that are half zeros (sparsity), and
	// those of GeForce cards four times, which sums up in FP16 as well.
	TensorTFLOPS10 int64
	PowerW         int64 // of the whole board
	Architecture   string
	Year           int    // in which it was launched
	Source         string // the document that the figures are from
}

// The documents, all of them NVIDIA's.
const (
	voltaSheet     = "NVIDIA Tesla V100 data sheet (2018)"
	turingPaper    = "NVIDIA Turing GPU architecture whitepaper, appendix (reference boards)"
	amperePaper    = "NVIDIA A100 Tensor Core GPU architecture whitepaper; A100 data sheet"
	ga102Paper     = "NVIDIA Ampere GA102 GPU architecture whitepaper v2"
	adaPaper       = "NVIDIA Ada GPU architecture whitepaper v2, appendices"
	hopperPaper    = "NVIDIA H100 Tensor Core GPU architecture whitepaper v1"
	blackwellPaper = "NVIDIA RTX Blackwell GPU architecture whitepaper v1.1, appendices"
)

// models is the catalogue, newest architecture first.
var models = []Model{
	{"NVIDIA GeForce RTX 5090", nil, 32 << 10, 1792, 1048, 2095, 575, "Blackwell", 2025, blackwellPaper},
	{"NVIDIA GeForce RTX 5080", nil, 16 << 10, 960, 563, 1126, 360, "Blackwell", 2025, blackwellPaper},
	{"NVIDIA GeForce RTX 5070 Ti", nil, 16 << 10, 896, 439, 879, 300, "Blackwell", 2025, blackwellPaper},
	{"NVIDIA GeForce RTX 5070", nil, 12 << 10, 672, 309, 617, 250, "Blackwell", 2025, blackwellPaper},

	{"NVIDIA H200", []string{"H200 SXM 141GB"}, 141 << 10, 4800, 670, 9895, 700, "Hopper", 2024, "NVIDIA H200 Tensor Core GPU data sheet (half of the sparse figure)"},
	{"NVIDIA H100 NVL", nil, 94 << 10, 3900, 600, 8355, 400, "Hopper", 2023, "NVIDIA H100 Tensor Core GPU data sheet (half of the sparse figure)"},
	{"NVIDIA H100 80GB HBM3", []string{"H100 SXM"}, 80 << 10, 3352, 669, 9894, 700, "Hopper", 2022, hopperPaper},
	{"NVIDIA H100 PCIe", []string{"H100"}, 80 << 10, 2039, 512, 7560, 350, "Hopper", 2022, hopperPaper},

	{"NVIDIA L40S", nil, 48 << 10, 864, 916, 3620, 350, "Ada", 2023, "NVIDIA L40S data sheet"},
	{"NVIDIA L40", nil, 48 << 10, 864, 905, 1810, 300, "Ada", 2022, "NVIDIA L40 data sheet"},
	{"NVIDIA L4", nil, 24 << 10, 300, 303, 1210, 72, "Ada", 2023, "NVIDIA L4 data sheet (half of the sparse figure)"},
	{"NVIDIA RTX 6000 Ada Generation", nil, 48 << 10, 960, 911, 3642, 300, "Ada", 2022, adaPaper},
	{"NVIDIA GeForce RTX 4090", nil, 24 << 10, 1008, 826, 1652, 450, "Ada", 2022, adaPaper},
	{"NVIDIA GeForce RTX 4080 SUPER", nil, 16 << 10, 736, 522, 1044, 320, "Ada", 2024, "NVIDIA GeForce RTX 4080 SUPER specifications (10,240 cores × 2.55 GHz; 836 AI TOPS ÷ 8)"},
	{"NVIDIA GeForce RTX 4080", nil, 16 << 10, 717, 487, 975, 320, "Ada", 2022, adaPaper},
	{"NVIDIA GeForce RTX 4070 Ti", nil, 12 << 10, 504, 401, 802, 285, "Ada", 2023, adaPaper},

	{"NVIDIA A100-SXM4-80GB", nil, 80 << 10, 2039, 195, 3120, 400, "Ampere", 2020, amperePaper},
	{"NVIDIA A100 80GB PCIe", []string{"A100 80GB"}, 80 << 10, 1935, 195, 3120, 300, "Ampere", 2021, amperePaper},
	{"NVIDIA A100-SXM4-40GB", nil, 40 << 10, 1555, 195, 3120, 400, "Ampere", 2020, amperePaper},
	{"NVIDIA A100-PCIE-40GB", []string{"A100", "A100 40GB"}, 40 << 10, 1555, 195, 3120, 250, "Ampere", 2020, amperePaper},
	{"NVIDIA A40", nil, 48 << 10, 696, 374, 1497, 300, "Ampere", 2020, "NVIDIA A40 data sheet"},
	{"NVIDIA A30", nil, 24 << 10, 933, 103, 1650, 165, "Ampere", 2021, "NVIDIA A30 data sheet"},
	{"NVIDIA A10", nil, 24 << 10, 600, 312, 1250, 150, "Ampere", 2021, "NVIDIA A10 data sheet"},
	{"NVIDIA RTX A6000", nil, 48 << 10, 768, 387, 1548, 300, "Ampere", 2020, ga102Paper},
	{"NVIDIA RTX A5000", nil, 24 << 10, 768, 278, 1111, 230, "Ampere", 2021, "NVIDIA RTX A5000 data sheet (half of the sparse figure)"},
	{"NVIDIA RTX A4000", nil, 16 << 10, 448, 192, 767, 140, "Ampere", 2021, "NVIDIA RTX A4000 data sheet (half of the sparse figure)"},
	{"NVIDIA GeForce RTX 3090 Ti", nil, 24 << 10, 1008, 400, 800, 450, "Ampere", 2022, adaPaper},
	{"NVIDIA GeForce RTX 3090", nil, 24 << 10, 936, 356, 710, 350, "Ampere", 2020, ga102Paper},
	{"NVIDIA GeForce RTX 3080", nil, 10 << 10, 760, 298, 595, 320, "Ampere", 2020, ga102Paper},
	{"NVIDIA GeForce RTX 3070", nil, 8 << 10, 448, 203, 406, 220, "Ampere", 2020, ga102Paper},
	{"NVIDIA GeForce RTX 3060", nil, 12 << 10, 360, 127, 255, 170, "Ampere", 2021, "NVIDIA GeForce RTX 3060 specifications (3,584 cores × 1.78 GHz; rates per core of " + ga102Paper + ")"},

	{"NVIDIA GeForce RTX 2080 Ti", nil, 11 << 10, 616, 134, 538, 250, "Turing", 2018, turingPaper},
	{"Tesla T4", nil, 16 << 10, 320, 81, 650, 70, "Turing", 2018, turingPaper},

	{"Tesla V100-SXM2-32GB", nil, 32 << 10, 900, 157, 1250, 300, "Volta", 2018, voltaSheet},
	{"Tesla V100-SXM2-16GB", nil, 16 << 10, 900, 157, 1250, 300, "Volta", 2017, voltaSheet},
	{"Tesla V100-PCIE-32GB", []string{"V100 32GB"}, 32 << 10, 900, 140, 1120, 250, "Volta", 2018, voltaSheet},
	{"Tesla V100-PCIE-16GB", []string{"V100", "V100 16GB"}, 16 << 10, 900, 140, 1120, 250, "Volta", 2017, voltaSheet},
}

// Catalogue lists the models that are known, by name.
func Catalogue() []Model {
	all := slices.Clone(models)
	for i := range all {
		all[i].Aliases = slices.Clone(all[i].Aliases)
	}
	slices.SortFunc(all, func(a, b Model) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Lookup finds a model by what nvidia-smi or a person calls it. Case, separators,
// vendor and brand do not matter, nor does a correct size of the memory behind the
// name. Laptop variants, partitions of a GPU and everything else that adds a word
// are other models. A name that fits several boards means the slowest.
func Lookup(name string) (Model, bool) {
	words := keyWords(name)
	if m, ok := byName[key(words)]; ok {
		return m, true
	}
	// The rest is about what may stand behind a model's name: -24GB, -SXM5, HBM2e.
	sizeMB := int64(0)
	words = slices.DeleteFunc(words, func(w string) bool {
		gb, isSize := strings.CutSuffix(w, "gb")
		if n, err := strconv.ParseInt(gb, 10, 32); isSize && err == nil {
			sizeMB = n << 10
			return true
		}
		return strings.HasPrefix(w, "hbm")
	})
	m, ok := byName[key(words)]
	if !ok && slices.ContainsFunc(words, isBus) {
		m, ok = byName[key(slices.DeleteFunc(words, isBus))]
		ok = ok && !m.needsBus()
	}
	return m, ok && (sizeMB == 0 || sizeMB == m.VRAMMB)
}

// byName has every name and alias in canonical form.
var byName = index(models)

func index(models []Model) map[string]Model {
	names := make(map[string]Model)
	for _, m := range models {
		for _, n := range append([]string{m.Name}, m.Aliases...) {
			names[key(keyWords(n))] = m
		}
	}
	return names
}

// keyWords splits a name into the words that tell models apart.
func keyWords(name string) []string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return r == ' ' || r == '-' || r == '_' || r == '/'
	})
	kept := words[:0]
	for _, w := range words {
		w = strings.TrimPrefix(w, "rtx") // RTX 4090 and RTX4090
		switch w {
		case "", "nvidia", "geforce", "tesla", "quadro", "generation":
			continue
		}
		if strings.HasPrefix(w, "sxm") {
			w = "sxm" // its number goes with the model
		}
		kept = append(kept, w)
	}
	return kept
}

// key makes the order of words irrelevant: A100 80GB PCIe, A100-PCIE-80GB.
func key(words []string) string {
	sorted := slices.Sorted(slices.Values(words))
	return strings.Join(sorted, " ")
}

func isBus(word string) bool { return word == "sxm" || word == "pcie" }

// needsBus says whether the model comes on boards of different speed, so that one on
// an unknown board must not be taken for it.
func (m Model) needsBus() bool { return slices.ContainsFunc(keyWords(m.Name), isBus) }
