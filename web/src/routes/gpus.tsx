import { createFileRoute } from '@tanstack/react-router'
import { MarketPage } from '@/features/market/market-page'
import { readMarketSearch } from '@/features/market/search'

export const Route = createFileRoute('/gpus')({ validateSearch: readMarketSearch, component: MarketPage })
