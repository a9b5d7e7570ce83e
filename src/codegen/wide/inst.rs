//! AVX instructions on registers that have not been chosen yet.
//!
//! Comes from `select`, goes to `allocate`. The same instructions do a vector of 256 bits and, in the tail, a single
//! element in the lowest lane of 128 bits: only loads and stores differ, and what the other lanes hold is never stored.

use iced_x86::Code;

/// What the instruction that defines it leaves in a register: the SSA values of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Reg(pub(super) u32);

/// An operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Src {
    /// What an earlier instruction of the body defines.
    Reg(Reg),
    /// A constant, the same in all lanes: an index into the pool.
    Const(u32),
    /// A uniform, the same in all lanes.
    Uniform(u32),
}

impl Src {
    /// Whether it is the same in every round of the loop.
    pub(super) fn is_invariant(self) -> bool {
        !matches!(self, Src::Reg(_))
    }
}

/// An instruction's encodings and what its operands may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Form {
    /// For 256 bits.
    pub(super) ymm: Code,
    /// For 128 bits.
    pub(super) xmm: Code,
    /// Which operand may lie in memory.
    pub(super) memory: Option<usize>,
    /// Whether the first two operands may be exchanged.
    pub(super) commutes: bool,
    /// What of it is of half the width: see [`Half`].
    pub(super) half: Half,
}

/// Which operand has as many lanes as the others, of half the width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    None,
    /// What it defines.
    To,
    /// What it reads.
    From,
}

/// What an instruction does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Do {
    /// Reads the elements of a stream, converted to the compute type; that may take another register.
    Load { stream: u32, spare: bool },
    /// Writes the elements of a stream, converted from the compute type; that may take another register. What goes to bf16 in
    /// a kernel that computes in f32 is its bits.
    Store { stream: u32, spare: bool },
    /// `from[0] * from[1] + from[2]` with one rounding: three forms that differ in which operand is overwritten.
    Fma([Form; 3]),
    /// Anything else, with an immediate byte if it has one.
    Op(Form, Option<u8>),
}

/// One instruction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Inst {
    pub(super) does: Do,
    /// What it defines: all but stores do.
    pub(super) to: Option<Reg>,
    from: [Src; 3],
    count: usize,
}

impl Inst {
    pub(super) fn new(does: Do, to: Option<Reg>, operands: &[Src]) -> Inst {
        let mut from = [Src::Const(0); 3];
        from[..operands.len()].copy_from_slice(operands);
        Inst { does, to, from, count: operands.len() }
    }

    /// Its operands.
    pub(super) fn from(&self) -> &[Src] {
        &self.from[..self.count]
    }
}

/// The last operand may lie in memory.
const fn binary(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: Some(1), commutes: false, half: Half::None }
}

const fn commutative(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: Some(1), commutes: true, half: Half::None }
}

const fn unary(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: Some(0), commutes: false, half: Half::None }
}

/// A shift by an immediate.
const fn shift(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: None, commutes: false, half: Half::None }
}

/// To lanes of half the width.
const fn narrowing(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: None, commutes: false, half: Half::To }
}

/// From lanes of half the width.
const fn widening(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: None, commutes: false, half: Half::From }
}

const fn fused(ymm: Code, xmm: Code) -> Form {
    Form { ymm, xmm, memory: Some(2), commutes: false, half: Half::None }
}

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident = $kind:ident($ymm:ident, $xmm:ident);)*) => {
        $($(#[$doc])* pub(super) const $name: Form = $kind(Code::$ymm, Code::$xmm);)*
    };
}

forms! {
    MOVE = unary(VEX_Vmovups_ymm_ymmm256, VEX_Vmovups_xmm_xmmm128);

    ADD_PS = commutative(VEX_Vaddps_ymm_ymm_ymmm256, VEX_Vaddps_xmm_xmm_xmmm128);
    ADD_PD = commutative(VEX_Vaddpd_ymm_ymm_ymmm256, VEX_Vaddpd_xmm_xmm_xmmm128);
    SUB_PS = binary(VEX_Vsubps_ymm_ymm_ymmm256, VEX_Vsubps_xmm_xmm_xmmm128);
    SUB_PD = binary(VEX_Vsubpd_ymm_ymm_ymmm256, VEX_Vsubpd_xmm_xmm_xmmm128);
    MUL_PS = commutative(VEX_Vmulps_ymm_ymm_ymmm256, VEX_Vmulps_xmm_xmm_xmmm128);
    MUL_PD = commutative(VEX_Vmulpd_ymm_ymm_ymmm256, VEX_Vmulpd_xmm_xmm_xmmm128);
    DIV_PS = binary(VEX_Vdivps_ymm_ymm_ymmm256, VEX_Vdivps_xmm_xmm_xmmm128);
    DIV_PD = binary(VEX_Vdivpd_ymm_ymm_ymmm256, VEX_Vdivpd_xmm_xmm_xmmm128);
    // They give the second operand where one is NaN or both are zeros: they do not commute.
    MIN_PS = binary(VEX_Vminps_ymm_ymm_ymmm256, VEX_Vminps_xmm_xmm_xmmm128);
    MIN_PD = binary(VEX_Vminpd_ymm_ymm_ymmm256, VEX_Vminpd_xmm_xmm_xmmm128);
    MAX_PS = binary(VEX_Vmaxps_ymm_ymm_ymmm256, VEX_Vmaxps_xmm_xmm_xmmm128);
    MAX_PD = binary(VEX_Vmaxpd_ymm_ymm_ymmm256, VEX_Vmaxpd_xmm_xmm_xmmm128);
    SQRT_PS = unary(VEX_Vsqrtps_ymm_ymmm256, VEX_Vsqrtps_xmm_xmmm128);
    SQRT_PD = unary(VEX_Vsqrtpd_ymm_ymmm256, VEX_Vsqrtpd_xmm_xmmm128);
    ROUND_PS = unary(VEX_Vroundps_ymm_ymmm256_imm8, VEX_Vroundps_xmm_xmmm128_imm8);
    ROUND_PD = unary(VEX_Vroundpd_ymm_ymmm256_imm8, VEX_Vroundpd_xmm_xmmm128_imm8);
    COMPARE_PS = binary(VEX_Vcmpps_ymm_ymm_ymmm256_imm8, VEX_Vcmpps_xmm_xmm_xmmm128_imm8);
    COMPARE_PD = binary(VEX_Vcmppd_ymm_ymm_ymmm256_imm8, VEX_Vcmppd_xmm_xmm_xmmm128_imm8);
    FMA_132_PS = fused(VEX_Vfmadd132ps_ymm_ymm_ymmm256, VEX_Vfmadd132ps_xmm_xmm_xmmm128);
    FMA_213_PS = fused(VEX_Vfmadd213ps_ymm_ymm_ymmm256, VEX_Vfmadd213ps_xmm_xmm_xmmm128);
    FMA_231_PS = fused(VEX_Vfmadd231ps_ymm_ymm_ymmm256, VEX_Vfmadd231ps_xmm_xmm_xmmm128);
    FMA_132_PD = fused(VEX_Vfmadd132pd_ymm_ymm_ymmm256, VEX_Vfmadd132pd_xmm_xmm_xmmm128);
    FMA_213_PD = fused(VEX_Vfmadd213pd_ymm_ymm_ymmm256, VEX_Vfmadd213pd_xmm_xmm_xmmm128);
    FMA_231_PD = fused(VEX_Vfmadd231pd_ymm_ymm_ymmm256, VEX_Vfmadd231pd_xmm_xmm_xmmm128);

    // Bit by bit, for floats and masks, and for integers: some processors pass values between the two kinds of unit late.
    AND_PS = commutative(VEX_Vandps_ymm_ymm_ymmm256, VEX_Vandps_xmm_xmm_xmmm128);
    OR_PS = commutative(VEX_Vorps_ymm_ymm_ymmm256, VEX_Vorps_xmm_xmm_xmmm128);
    XOR_PS = commutative(VEX_Vxorps_ymm_ymm_ymmm256, VEX_Vxorps_xmm_xmm_xmmm128);
    AND = commutative(VEX_Vpand_ymm_ymm_ymmm256, VEX_Vpand_xmm_xmm_xmmm128);
    OR = commutative(VEX_Vpor_ymm_ymm_ymmm256, VEX_Vpor_xmm_xmm_xmmm128);
    XOR = commutative(VEX_Vpxor_ymm_ymm_ymmm256, VEX_Vpxor_xmm_xmm_xmmm128);
    // Operands: what is taken where the mask does not hold, what is taken where it does, the mask.
    BLEND_PS = binary(VEX_Vblendvps_ymm_ymm_ymmm256_ymm, VEX_Vblendvps_xmm_xmm_xmmm128_xmm);
    BLEND_PD = binary(VEX_Vblendvpd_ymm_ymm_ymmm256_ymm, VEX_Vblendvpd_xmm_xmm_xmmm128_xmm);
    BLEND_D = binary(VEX_Vpblendd_ymm_ymm_ymmm256_imm8, VEX_Vpblendd_xmm_xmm_xmmm128_imm8);

    ADD_D = commutative(VEX_Vpaddd_ymm_ymm_ymmm256, VEX_Vpaddd_xmm_xmm_xmmm128);
    ADD_Q = commutative(VEX_Vpaddq_ymm_ymm_ymmm256, VEX_Vpaddq_xmm_xmm_xmmm128);
    SUB_D = binary(VEX_Vpsubd_ymm_ymm_ymmm256, VEX_Vpsubd_xmm_xmm_xmmm128);
    SUB_Q = binary(VEX_Vpsubq_ymm_ymm_ymmm256, VEX_Vpsubq_xmm_xmm_xmmm128);
    EQUAL_D = commutative(VEX_Vpcmpeqd_ymm_ymm_ymmm256, VEX_Vpcmpeqd_xmm_xmm_xmmm128);
    EQUAL_Q = commutative(VEX_Vpcmpeqq_ymm_ymm_ymmm256, VEX_Vpcmpeqq_xmm_xmm_xmmm128);
    GREATER_D = binary(VEX_Vpcmpgtd_ymm_ymm_ymmm256, VEX_Vpcmpgtd_xmm_xmm_xmmm128);
    GREATER_Q = binary(VEX_Vpcmpgtq_ymm_ymm_ymmm256, VEX_Vpcmpgtq_xmm_xmm_xmmm128);
    SHL_D = shift(VEX_Vpslld_ymm_ymm_imm8, VEX_Vpslld_xmm_xmm_imm8);
    SHL_Q = shift(VEX_Vpsllq_ymm_ymm_imm8, VEX_Vpsllq_xmm_xmm_imm8);
    SHR_D = shift(VEX_Vpsrld_ymm_ymm_imm8, VEX_Vpsrld_xmm_xmm_imm8);
    SHR_Q = shift(VEX_Vpsrlq_ymm_ymm_imm8, VEX_Vpsrlq_xmm_xmm_imm8);
    SAR_D = shift(VEX_Vpsrad_ymm_ymm_imm8, VEX_Vpsrad_xmm_xmm_imm8);
    // By a count of each lane's own; a count that is no less than the width gives 0.
    SHL_EACH_D = binary(VEX_Vpsllvd_ymm_ymm_ymmm256, VEX_Vpsllvd_xmm_xmm_xmmm128);
    SHL_EACH_Q = binary(VEX_Vpsllvq_ymm_ymm_ymmm256, VEX_Vpsllvq_xmm_xmm_xmmm128);
    SHR_EACH_D = binary(VEX_Vpsrlvd_ymm_ymm_ymmm256, VEX_Vpsrlvd_xmm_xmm_xmmm128);
    SHR_EACH_Q = binary(VEX_Vpsrlvq_ymm_ymm_ymmm256, VEX_Vpsrlvq_xmm_xmm_xmmm128);
    SAR_EACH_D = binary(VEX_Vpsravd_ymm_ymm_ymmm256, VEX_Vpsravd_xmm_xmm_xmmm128);

    TO_INT_D = unary(VEX_Vcvttps2dq_ymm_ymmm256, VEX_Vcvttps2dq_xmm_xmmm128);
    // The immediate 0 rounds to nearest even, whatever the mode.
    TO_F16 = narrowing(VEX_Vcvtps2ph_xmmm128_ymm_imm8, VEX_Vcvtps2ph_xmmm64_xmm_imm8);
    FROM_F16 = widening(VEX_Vcvtph2ps_ymm_xmmm128, VEX_Vcvtph2ps_xmm_xmmm64);
    TO_F32 = narrowing(VEX_Vcvtpd2ps_xmm_ymmm256, VEX_Vcvtpd2ps_xmm_xmmm128);
    FROM_F32 = widening(VEX_Vcvtps2pd_ymm_xmmm128, VEX_Vcvtps2pd_xmm_xmmm64);
    TO_FLOAT_PS = unary(VEX_Vcvtdq2ps_ymm_ymmm256, VEX_Vcvtdq2ps_xmm_xmmm128);
}

/// Forms by the width of a lane: f32 and i32 beside f64 and i64.
#[derive(Clone, Copy)]
pub(super) struct Forms {
    pub(super) add: Form,
    pub(super) sub: Form,
    pub(super) mul: Form,
    pub(super) div: Form,
    pub(super) min: Form,
    pub(super) max: Form,
    pub(super) sqrt: Form,
    pub(super) round: Form,
    pub(super) compare: Form,
    pub(super) fma: [Form; 3],
    pub(super) blend: Form,
    pub(super) int_add: Form,
    pub(super) int_sub: Form,
    pub(super) int_equal: Form,
    pub(super) int_greater: Form,
    pub(super) shl: Form,
    pub(super) shr: Form,
    pub(super) shl_each: Form,
    pub(super) shr_each: Form,
}

pub(super) const FORMS_32: Forms = Forms {
    add: ADD_PS,
    sub: SUB_PS,
    mul: MUL_PS,
    div: DIV_PS,
    min: MIN_PS,
    max: MAX_PS,
    sqrt: SQRT_PS,
    round: ROUND_PS,
    compare: COMPARE_PS,
    fma: [FMA_132_PS, FMA_213_PS, FMA_231_PS],
    blend: BLEND_PS,
    int_add: ADD_D,
    int_sub: SUB_D,
    int_equal: EQUAL_D,
    int_greater: GREATER_D,
    shl: SHL_D,
    shr: SHR_D,
    shl_each: SHL_EACH_D,
    shr_each: SHR_EACH_D,
};

pub(super) const FORMS_64: Forms = Forms {
    add: ADD_PD,
    sub: SUB_PD,
    mul: MUL_PD,
    div: DIV_PD,
    min: MIN_PD,
    max: MAX_PD,
    sqrt: SQRT_PD,
    round: ROUND_PD,
    compare: COMPARE_PD,
    fma: [FMA_132_PD, FMA_213_PD, FMA_231_PD],
    blend: BLEND_PD,
    int_add: ADD_Q,
    int_sub: SUB_Q,
    int_equal: EQUAL_Q,
    int_greater: GREATER_Q,
    shl: SHL_Q,
    shr: SHR_Q,
    shl_each: SHL_EACH_Q,
    shr_each: SHR_EACH_Q,
};
