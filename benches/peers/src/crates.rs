//! The peers that are Rust crates, each behind the feature of its name. Both compute on one thread.

use crate::peer::{Case, Peer};
use crate::rule::Rule;
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `candle_nn::optim`.
#[cfg(feature = "candle")]
pub fn candle(case: &Case) -> Result<Box<dyn Peer>> {
    use crate::peer::Own;
    use candle_core::{Device, Tensor, Var};
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    on_one_thread(case)?;
    let weight_decay = match case.rule {
        Rule::Adam => 0.0,
        Rule::AdamW => 0.01,
        _ => return Err("candle-nn has no such optimizer".into()),
    };
    let params = ParamsAdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay };
    let var = Var::from_slice(&case.params, case.elements, &Device::Cpu)?;
    let g = Tensor::from_slice(&case.grads, case.elements, &Device::Cpu)?;
    // A store of gradients is made by going backward alone: here through a sum whose gradient is `g`.
    let grads = (var.as_tensor() * &g)?.sum_all()?.backward()?;
    let state = (AdamW::new(vec![var.clone()], params)?, var, grads);
    let peer = Own::new(
        state,
        |(opt, _, grads)| Ok(opt.step(grads)?),
        |(_, var, _)| Ok(var.as_tensor().narrow(0, 0, var.elem_count().min(8))?.to_vec1::<f32>()?),
    )?;
    Ok(Box::new(peer))
}

#[cfg(not(feature = "candle"))]
pub fn candle(_: &Case) -> Result<Box<dyn Peer>> {
    Err("built without the feature candle".into())
}

/// `burn::optim` on the backend ndarray.
#[cfg(feature = "burn")]
pub fn burn(case: &Case) -> Result<Box<dyn Peer>> {
    use burn::optim::momentum::MomentumConfig;
    use burn::optim::{AdaGradConfig, AdamConfig, AdamWConfig, LionConfig, RmsPropConfig, SgdConfig};

    on_one_thread(case)?;
    match case.rule {
        Rule::Adam => burn_of(case, 1e-3, AdamConfig::new().with_epsilon(1e-8).build()),
        Rule::AmsGrad => burn_of(case, 1e-3, AdamConfig::new().with_epsilon(1e-8).with_amsgrad(true).build()),
        Rule::AdamW => burn_of(case, 1e-3, AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).build()),
        Rule::AdaGrad => burn_of(case, 0.01, AdaGradConfig::new().with_epsilon(1e-10).build()),
        Rule::RmsProp => burn_of(case, 0.01, RmsPropConfig::new().with_epsilon(1e-8).with_momentum(0.0).build()),
        Rule::Lion => {
            burn_of(case, 1e-4, LionConfig::new().with_beta_1(0.9).with_beta_2(0.99).with_weight_decay(0.0).build())
        }
        Rule::Sgd => {
            let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
            burn_of(case, 1e-3, SgdConfig::new().with_momentum(Some(momentum)).build())
        }
    }
}

#[cfg(feature = "burn")]
fn burn_of<O: burn::optim::Optimizer + 'static>(case: &Case, lr: f64, opt: O) -> Result<Box<dyn Peer>> {
    use crate::peer::Own;
    use burn::tensor::{Device, Tensor, TensorData};

    // Its successor, flex, is another feature of burn.
    #[expect(deprecated)]
    let device = Device::ndarray();
    let tensor = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device);
    let state = (opt, Some(tensor(&case.params)), tensor(&case.grads), None);
    let peer = Own::new(
        state,
        move |(opt, p, g, state)| {
            let before = p.take().ok_or("no parameter")?;
            let (after, next) = opt.step::<1>(lr, before, g.clone(), state.take());
            (*p, *state) = (Some(after), next);
            Ok(())
        },
        |(_, p, ..)| {
            let p = p.clone().ok_or("no parameter")?;
            let values = p.into_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
            Ok(values[..values.len().min(8)].to_vec())
        },
    )?;
    Ok(Box::new(peer))
}

#[cfg(not(feature = "burn"))]
pub fn burn(_: &Case) -> Result<Box<dyn Peer>> {
    Err("built without the feature burn".into())
}

/// Neither shares an element-wise operation among threads.
#[cfg(any(feature = "candle", feature = "burn"))]
fn on_one_thread(case: &Case) -> Result<()> {
    if case.threads == 1 { Ok(()) } else { Err("it computes on one thread".into()) }
}
