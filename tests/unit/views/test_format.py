import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profkit.views.format import (
    NOT_AVAILABLE,
    THIN,
    columns,
    count,
    cut,
    date,
    duration,
    energy,
    number,
    pad,
    share,
    short_name,
    size,
)

KERNEL_NAMES = {
    "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT": "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT",
    "void at::native::vectorized_elementwise_kernel<8, at::native::BinaryFunctor<c10::BFloat16, c10::BFloat16, "
    "c10::BFloat16, at::native::binary_internal::MulFunctor<float> >, std::array<char*, 3ul> >(int, "
    "std::array<char*, 3ul>)": "vectorized_elementwise_kernel · MulFunctor",
    "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::"
    "{lambda()#3}::operator()() const::{lambda(float)#1}, std::array<char*, 2ul> >(int)": (
        "unrolled_elementwise_kernel · direct_copy"
    ),
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float, float, "
    "float>, unsigned int, float, 4, 4> >(at::native::ReduceOp<float, at::native::MeanOps<float> >)": (
        "reduce_kernel · MeanOps"
    ),
    "void at::native::(anonymous namespace)::CatArrayBatchedCopy<at::native::(anonymous namespace)::OpaqueType<2u>, "
    "unsigned int, 4, 64, 64>(at::native::(anonymous namespace)::OpaqueType<2u>*)": "CatArrayBatchedCopy",
    "void at::native::vectorized_elementwise_kernel<8, at::native::(anonymous namespace)::silu_kernel("
    "at::TensorIteratorBase&)::{lambda()#1}, std::array<char*, 2ul> >(int)": "vectorized_elementwise_kernel · silu",
    "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_tn_align1>(cutlass_80_simt_sgemm_128x32_8x5_tn_align1::"
    "Params)": "cutlass_80_simt_sgemm_128x32_8x5_tn_align1",
    "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, __nv_bfloat16>(cublasGemvParams)": (
        "gemvx::kernel"
    ),
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)": (
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
    ),
    "Memcpy DtoH (Device -> Pinned)": "Memcpy DtoH (Device -> Pinned)",
    "aten::mm": "aten::mm",
    "": "(no name)",
}


@pytest.mark.parametrize(("name", "short"), KERNEL_NAMES.items())
def test_short_name_keeps_what_tells_kernels_apart(name, short):
    assert short_name(name, 60) == short


def test_long_triton_names_lose_their_middle():
    name = "triton_poi_fused_" + "add_" * 40 + "17"
    short = short_name(name, 40)
    assert len(short) == 40
    assert short.startswith("triton_poi_fused_")
    assert short.endswith("_17")


@given(st.text() | st.text(alphabet="<>(){}[]:, aF_·\u202e😀", max_size=60), st.integers(1, 80))
def test_short_name_of_any_text_is_one_short_line(name, width):
    short = short_name(name, width)
    assert 0 < len(short) <= width
    assert short.isprintable()


@given(st.text(), st.integers(0, 60))
def test_cut_fits_its_columns(text, width):
    assert columns(cut(text, width)) <= width
    assert len(text) <= columns(text)
    assert columns(pad(cut(text, width), width)) == width


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (240, "240 ns"),
        (2400, "2.40 µs"),
        (37_639_882.2, "37.6 ms"),
        (999_600, "1.00 ms"),
        (999_600_000, "1.00 s"),
        (1_211_287_422, "1.21 s"),
        (75e9, "75.0 s"),
        (3600e9, "60.0 min"),
        (9000e9, "2.50 h"),
        (-5e6, "−5.00 ms"),
        (None, NOT_AVAILABLE),
        (math.nan, NOT_AVAILABLE),
    ],
)
def test_durations_have_three_digits_and_a_unit(ns, text):
    assert duration(ns) == text


UNITS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}


@given(st.floats(0.01, 1e17))
def test_a_duration_says_the_time_to_half_a_percent(ns):
    value, unit = duration(ns).split(" ")
    assert float(value.replace(THIN, "")) * UNITS[unit] == pytest.approx(ns, rel=0.00501)


def test_sizes_are_powers_of_ten():
    assert size(17_300_000_000) == "17.3 GB"
    assert size(4_200_000) == "4.20 MB"
    assert size(12) == "12 bytes"
    assert size(None) == NOT_AVAILABLE


def test_counts_are_grouped_by_thousands():
    assert count(48_792) == f"48{THIN}792"
    assert number(1542.06) == f"1{THIN}542"
    assert number(0.0123) == "0.0123"


def test_energy_goes_as_far_as_its_error():
    assert energy(412.0, 24.0) == "412 ± 24 J"
    assert energy(4.1234, 0.0312) == "4.123 ± 0.031 J"
    assert energy(5.0) == "5.00 J"
    assert energy(None, 3.0) == NOT_AVAILABLE


def test_a_small_share_is_not_nothing():
    assert share(0.0001) == "< 0.1 %"
    assert share(0) == "0 %"
    assert share(1) == "100 %"
    assert share(0.17839) == "17.8 %"
    assert share(math.nan) == NOT_AVAILABLE


def test_dates_are_in_utc():
    assert date("2026-01-31T14:00:00+02:00") == "2026-01-31 12:00 UTC"
    assert date("yesterday") == "yesterday"
