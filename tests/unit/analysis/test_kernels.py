"""Which kernels took the time: sums, shares, self time of operators, and kinds by real kernels' names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.analysis.trace import call, copy, kernel, operator, record

from profkit.analysis.events import kind_rows
from profkit.analysis.intervals import union
from profkit.analysis.kernels import kernels, self_time, work_kind
from profkit.errors import OptionError
from profkit.record import EventKind

NO_GPU = {"not_measured": {"gpu_busy": "no CUDA GPU"}}
NAMES = ("nvjet_a", "nvjet_b", "softmax_warp_forward", "flash_fwd_kernel")

launches = st.tuples(
    st.sampled_from(NAMES), st.integers(0, 50), st.integers(0, 9), st.sampled_from(["aten::mm", "aten::sdpa", None])
)


@given(st.lists(launches, max_size=15), st.sampled_from(["name", "kind", "op"]))
def test_every_grouping_has_all_of_the_gpu_time_once(rows, by):
    operators = {name: operator(0, 1, name) for name in ("aten::mm", "aten::sdpa")}
    work = [kernel(start, start + length, name=name, op=operators.get(op)) for name, start, length, op in rows]
    table = kernels(record(*operators.values(), *work), by)
    assert table["total_ns"].sum() == sum(length for _, _, length, _ in rows)
    assert table["count"].sum() == len(rows)
    assert table["total_ns"].is_monotonic_decreasing
    assert table["name"].is_unique
    if table["total_ns"].sum():
        assert table["share"].sum() == pytest.approx(1)
    assert np.allclose(table["mean_ns"] * table["count"], table["total_ns"])


def test_kernels_are_grouped_by_name_longest_first():
    table = kernels(record(kernel(0, 5, name="a"), kernel(5, 6, name="b"), kernel(6, 9, name="a"), copy(9, 19)))
    assert table.to_dict("records") == [
        {
            "name": "Memcpy DtoH (Device -> Pageable)",
            "kind": "copy",
            "count": 1,
            "total_ns": 10,
            "mean_ns": 10.0,
            "min_ns": 10,
            "max_ns": 10,
            "share": pytest.approx(10 / 19),
        },
        {
            "name": "a",
            "kind": "other",
            "count": 2,
            "total_ns": 8,
            "mean_ns": 4.0,
            "min_ns": 3,
            "max_ns": 5,
            "share": pytest.approx(8 / 19),
        },
        {
            "name": "b",
            "kind": "other",
            "count": 1,
            "total_ns": 1,
            "mean_ns": 1.0,
            "min_ns": 1,
            "max_ns": 1,
            "share": pytest.approx(1 / 19),
        },
    ]
    assert table.attrs["where"] == "gpu"


def test_streams_that_overlap_count_each():
    assert kernels(record(kernel(0, 10, lane=7), kernel(0, 10, lane=9)))["total_ns"].tolist() == [20]


def test_kernels_by_operator_are_those_that_it_launched():
    mm = operator(0, 4, "aten::mm")
    rows = [mm, call(1, 2, 1), kernel(5, 9, 1, name="nvjet", op=mm), kernel(9, 12, name="nvjet")]
    table = kernels(record(*rows), by="op")
    assert table[["name", "kind", "total_ns"]].to_numpy().tolist() == [
        ["aten::mm", "matmul", 4],
        ["(no operator)", "matmul", 3],
    ]


def test_an_operator_has_the_kind_that_most_of_its_time_has():
    mm = operator(0, 4, "aten::mm")
    rows = [kernel(5, 15, name="nvjet", op=mm), *(kernel(at, at + 4, name="fill", op=mm) for at in (20, 30))]
    assert kernels(record(mm, *rows), by="op")["kind"].tolist() == ["matmul"]


def test_an_unknown_grouping_is_an_error_that_names_the_known():
    with pytest.raises(OptionError, match="'name', 'kind' or 'op'"):
        kernels(record(), by="stream")


def test_a_gpu_that_did_nothing_has_no_rows():
    table = kernels(record(operator(0, 5)))
    assert len(table) == 0
    assert table.attrs["where"] == "gpu"


def test_without_a_gpu_operators_count_by_the_time_that_is_their_own():
    rows = [operator(0, 10, "aten::linear"), operator(2, 9, "aten::addmm"), operator(20, 25, "aten::linear")]
    table = kernels(record(*rows, **NO_GPU))
    assert table[["name", "count", "total_ns"]].to_numpy().tolist() == [["aten::linear", 2, 8], ["aten::addmm", 1, 7]]
    assert table.attrs["where"] == "host"


def test_without_a_gpu_operators_are_their_own_operator():
    rows = [operator(0, 10, "aten::linear"), operator(2, 9, "aten::addmm")]
    assert kernels(record(*rows, **NO_GPU), by="op")["name"].tolist() == ["aten::addmm", "aten::linear"]


@st.composite
def threads(draw):
    """Operators of one to three threads, nested as calls nest, as (start, end, thread) in order of entry."""
    rows = []
    for thread in range(draw(st.integers(1, 3))):
        now, open_ = 0, []
        for opens in draw(st.lists(st.booleans(), max_size=14)):
            now += draw(st.integers(0, 3))
            if opens:
                rows.append([now, None, thread])
                open_.append(rows[-1])
            elif open_:
                open_.pop()[1] = now
        while open_:
            now += draw(st.integers(0, 3))
            open_.pop()[1] = now
    return rows


def self_times(rows):
    """Nanosecond by nanosecond, each goes to the operator of its thread that was entered last."""
    own = [0] * len(rows)
    for thread in {row[2] for row in rows}:
        for at in range(max(row[1] for row in rows)):
            around = [i for i, (start, end, lane) in enumerate(rows) if lane == thread and start <= at < end]
            if around:
                own[around[-1]] += 1
    return own


@given(threads())
def test_self_time_is_the_time_with_no_operator_deeper(rows):
    rows.sort(key=lambda row: row[0])
    events = record(*(operator(start, end, lane=lane) for start, end, lane in rows)).events
    assert self_time(events, kind_rows(events, EventKind.OP)).tolist() == self_times(rows)


@given(threads())
def test_self_times_of_a_thread_add_up_to_the_time_that_it_spent_in_operators(rows):
    rows = [row for row in rows if row[2] == 0]
    events = record(*(operator(start, end) for start, end, _ in rows)).events
    start, end = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
    assert self_time(events, kind_rows(events, EventKind.OP)).sum() == union(start, end).total


AT = "at::native::"

KIND_OF_NAME = {
    "attention": [
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_cga1x1x1_kernel0_0",
        "void cudnn::fusion::lean_reduction_kernel<false, false, false>(void*, float*, float*)",
        "void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4, false, false, cutlass::bfloat16_t>>",
        "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<(anonymous)>>>(Params)",
        "fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::bfloat16_t>)",
        "void vllm::paged_attention_v1_kernel<unsigned short, unsigned short, 128, 16, 128>(unsigned short*)",
        "kernel_unified_attention_2d",
        "_fwd_grouped_kernel_stage1",
        "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2u, 4u>(Params)",
        "void flashinfer::PersistentVariableLengthMergeStatesKernel<8u, 16u>(float*)",
        "triton_tem_fused_flex_attention_0",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
    ],
    "matmul": [
        "nvjet_sm90_tst_64x8_64x16_2x1_v_bz_TNT",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16>(cublasLt::cublasSplitKParams<float>)",
        "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x32_8x5_tn_align1>(Params)",
        "ampere_bf16_s16816gemm_bf16_128x128_ldg8_f2f_stages_32x5_tn",
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_kernel__5x_cublas",
        "void gemv2T_kernel_val<int, int, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, 128, 16, 4, 4>",
        "void marlin::Marlin<__nv_bfloat16, 256, 1, 8, 8, true, 4, 8, false>(int4 const*)",
        "void cutlass::device_kernel<machete::MacheteKernelTemplate<cutlass::bfloat16_t>>(Params)",
        "fused_moe_kernel",
        "_w8a8_block_fp8_matmul",
        "triton_tem_fused_mm_5",
        "aten::addmm",
        "aten::mkldnn_linear",
    ],
    "norm": [
        "triton_red_fused__to_copy__unsafe_view_add_embedding_mean_mul_pow_rsqrt_10",
        "triton_per_fused_native_layer_norm_0",
        "void vllm::rms_norm_kernel<c10::BFloat16, 8>(c10::BFloat16*)",
        "void flashinfer::norm::RMSNormKernel<8u, __nv_bfloat16>(__nv_bfloat16*)",
        f"void {AT}(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float, false>(int)",
        f"void {AT}(anonymous namespace)::RowwiseMomentsCUDAKernel<float, float, false>(long)",
        f"void {AT}vectorized_elementwise_kernel<4, {AT}rsqrt_kernel_cuda(at::TensorIteratorBase&)>",
        "aten::_fused_rms_norm",
    ],
    "elementwise": [
        f"void {AT}vectorized_elementwise_kernel<8, {AT}CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul>>",
        f"void {AT}vectorized_elementwise_kernel<2, {AT}(anonymous namespace)::masked_fill_kernel(at::Tensor&)>",
        f"void {AT}(anonymous namespace)::cunn_SoftMaxForward<8, c10::BFloat16, float, c10::BFloat16>(int)",
        "void (anonymous namespace)::softmax_warp_forward<c10::BFloat16, c10::BFloat16, float, 10, false, false>",
        "void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)",
        "void vllm::act_and_mul_kernel<c10::BFloat16, &(vllm::silu_kernel<c10::BFloat16>)>(c10::BFloat16*)",
        "void flashinfer::BatchQKApplyRotaryPosIdsCosSinCacheKernel<true, 128u>(Params)",
        "void vllm::scaled_fp8_quant_kernel<c10::BFloat16>(c10::Float8_e4m3fn*)",
        "triton_poi_fused__unsafe_view_mul_silu_8",
        "triton_poi_fused__scaled_dot_product_cudnn_attention__to_copy_add_bmm_cat_cos_mul_sin_4",
        "aten::_softmax",
    ],
    "copy": [
        "Memcpy HtoD (Pageable -> Device)",
        "Memset (Device)",
        f"void {AT}(anonymous namespace)::CatArrayBatchedCopy<{AT}(anonymous namespace)::OpaqueType<2u>>",
        f"void {AT}unrolled_elementwise_kernel<{AT}direct_copy_kernel_cuda(at::TensorIteratorBase&)>",
        f"void {AT}(anonymous namespace)::indexSelectSmallIndex<c10::BFloat16, long, unsigned int, 2, 2, -2>",
        f"void {AT}vectorized_gather_kernel<16, long>(char*, char*, long*)",
        f"void {AT}vectorized_elementwise_kernel<2, {AT}FillFunctor<long>, std::array<char*, 1ul>>",
        "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, __nv_bfloat16>(__nv_bfloat16 const*)",
        "aten::embedding",
    ],
    "communication": [
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
        "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*)",
        "void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<0>(Params)",
    ],
    "other": [
        f"void {AT}reduce_kernel<512, 1, {AT}ReduceOp<float, {AT}ArgMaxOps<float>, unsigned int, long, 4, 4>>",
        f"void {AT}sbtopk::gatherTopK<float, unsigned int, 2, false>(float const*)",
        "void flashinfer::sampling::TopKTopPSamplingFromProbKernel<512u>(float*)",
        "void at_cuda_detail::cub::DeviceScanKernel<long>(long const*)",
        "aten::empty",
    ],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KIND_OF_NAME.items() for name in names])
def test_a_kernels_name_tells_its_kind(kind, name):
    assert work_kind(name) == kind
